import onnxruntime
import pytest

from tools.onnx_graphs.export import Plan, build_solver
from tools.onnx_graphs.sessions import open_session


@pytest.fixture(scope="session")
def solver() -> onnxruntime.InferenceSession:
    """The closed-form solver as a graph."""
    return open_session(build_solver(Plan("net", None, False, {})).SerializeToString(), threads=1)
