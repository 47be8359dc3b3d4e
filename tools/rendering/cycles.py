"""Scenes rendered by Cycles: denoised colours, and alpha without light."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import mathutils
import numpy as np

from data.files import write_atomic
from data.prepare.rendered.finish import with_exact_alpha
from data.prepare.rendered.produce import REFERENCE_PX, Rendering, encoded, generator
from data.prepare.rendered.recipes import make_scene
from data.prepare.rendered.scene import Ellipsoid, Light, Scene, Strands

LAMP_DISTANCE = 12.0
LAMP_WATTS = 700.0  # an area lamp at that distance, per unit of radiance


@dataclass(frozen=True)
class Quality:
    """Settings that cost time."""

    colour_samples: int = 10
    alpha_samples: int = 48
    bounces: int = 4
    threads: int = 1


def make(rendering: Rendering, quality: Quality) -> bool:
    """Write the file of a rendering; False if it was there."""
    if rendering.target.is_file():
        return False
    scene = make_scene(rendering.kind, generator(rendering.kind, rendering.seed, 0))
    colour, alpha = render(scene, rendering.size or REFERENCE_PX, quality)
    write_atomic(rendering.target, encoded(with_exact_alpha(colour, alpha)))
    return True


def render(scene: Scene, size: int, quality: Quality) -> tuple[np.ndarray, np.ndarray]:
    """Render a colour pass (H, W, 4) and the exact alpha (H, W).

    The colour pass is straight, with the coverage of its own few samples. Both are float32 in [0, 1], colours
    display-encoded sRGB.
    """
    with tempfile.TemporaryDirectory() as folder:
        stage = _build(scene, size, quality)
        colour = _shoot(stage, Path(folder) / "colour.png", quality.colour_samples, quality.bounces, denoise=True)
        stage.view_layers[0].material_override = _emission()
        alpha = _shoot(stage, Path(folder) / "alpha.png", quality.alpha_samples, 0, denoise=False)
    return colour, alpha[..., 3]


def _build(scene: Scene, size: int, quality: Quality) -> bpy.types.Scene:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    stage = bpy.context.scene
    stage.render.engine = "CYCLES"
    stage.cycles.device, stage.cycles.seed = "CPU", scene.seed % 2**31
    stage.render.film_transparent = True
    stage.render.resolution_x = stage.render.resolution_y = size
    stage.render.threads_mode, stage.render.threads = "FIXED", quality.threads
    stage.render.use_persistent_data = True
    stage.cycles_curves.shape = "THICK" if scene.coats and scene.coats[0].surface == "tube" else "RIBBONS"
    stage.cycles_curves.subdivisions = 2
    rng = np.random.default_rng(scene.seed)
    stage.view_settings.view_transform = str(rng.choice(["AgX", "Filmic", "Standard", "Standard"]))
    for strands in scene.coats:
        _add_strands(stage, strands)
    for body in scene.bodies:
        _add_body(stage, body)
    for light in scene.lights:
        _add_light(stage, light)
    _add_world(stage, scene.world)
    _add_camera(stage, scene)
    return stage


def _material(name: str) -> tuple[bpy.types.Material, bpy.types.NodeTree, bpy.types.Node]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material.node_tree.nodes.clear()
    return material, material.node_tree, material.node_tree.nodes.new("ShaderNodeOutputMaterial")


def _add_strands(stage: bpy.types.Scene, strands: Strands) -> None:
    count, steps = strands.points.shape[:2]
    curves = bpy.data.hair_curves.new("strands")
    curves.add_curves([steps] * count)
    curves.attributes["position"].data.foreach_set("vector", np.ascontiguousarray(strands.points, np.float32).ravel())
    radius = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
    radius.data.foreach_set("value", np.ascontiguousarray(strands.radius, np.float32).ravel())
    colour = curves.attributes.new("reflectance", "FLOAT_COLOR", "POINT")
    rgba = np.concatenate([strands.colour, np.ones((count, steps, 1), np.float32)], axis=2)
    colour.data.foreach_set("color", np.ascontiguousarray(rgba, np.float32).ravel())
    curves.materials.append(_strand_material(strands))
    stage.collection.objects.link(bpy.data.objects.new("strands", curves))


def _strand_material(strands: Strands) -> bpy.types.Material:
    material, tree, output = _material("strands")
    if strands.surface == "fibre":
        shader, colour = tree.nodes.new("ShaderNodeBsdfHairPrincipled"), "Color"
        shader.parametrization = "COLOR"
    else:
        shader, colour = tree.nodes.new("ShaderNodeBsdfPrincipled"), "Base Color"
    shader.inputs["Roughness"].default_value = strands.roughness
    attribute = tree.nodes.new("ShaderNodeAttribute")
    attribute.attribute_name = "reflectance"
    tree.links.new(attribute.outputs["Color"], shader.inputs[colour])
    tree.links.new(shader.outputs[0], output.inputs[0])
    return material


def _add_body(stage: bpy.types.Scene, body: Ellipsoid) -> None:
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=40, radius=1)
    item = bpy.context.object
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = body.turn * body.axes, body.centre
    item.matrix_world = mathutils.Matrix(matrix.tolist())
    bpy.ops.object.shade_smooth()
    material, tree, output = _material("body")
    shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
    noise, mix = tree.nodes.new("ShaderNodeTexNoise"), tree.nodes.new("ShaderNodeMixRGB")
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 6, 8
    mix.inputs[1].default_value = (*(0.75 * np.array(body.colour)), 1)
    mix.inputs[2].default_value = (*np.minimum(1.2 * np.array(body.colour), 1), 1)
    tree.links.new(noise.outputs[0], mix.inputs[0])
    tree.links.new(mix.outputs[0], shader.inputs["Base Color"])
    shader.inputs["Roughness"].default_value = body.roughness
    tree.links.new(shader.outputs[0], output.inputs[0])
    item.data.materials.append(material)


def _add_light(stage: bpy.types.Scene, light: Light) -> None:
    lamp = bpy.data.lights.new("lamp", "AREA")
    level = float(light.colour.max())
    lamp.energy, lamp.color = LAMP_WATTS * level, (light.colour / level).tolist()
    lamp.size = 2 * light.size * LAMP_DISTANCE
    item = bpy.data.objects.new("lamp", lamp)
    item.location = (light.direction * LAMP_DISTANCE).tolist()
    item.rotation_euler = mathutils.Vector((-light.direction).tolist()).to_track_quat("-Z", "Y").to_euler()
    stage.collection.objects.link(item)


def worlds() -> Sequence[Path]:
    """Environment pictures that Blender brings."""
    folder = Path(bpy.utils.system_resource("DATAFILES")) / "studiolights" / "world"
    return sorted(folder.glob("*.exr"))


def _add_world(stage: bpy.types.Scene, number: int) -> None:
    rng, choices = np.random.default_rng(number), worlds()
    world = bpy.data.worlds.new("world")
    stage.world, world.use_nodes = world, True
    tree = world.node_tree
    picture, mapping = tree.nodes.new("ShaderNodeTexEnvironment"), tree.nodes.new("ShaderNodeMapping")
    place = tree.nodes.new("ShaderNodeTexCoord")
    picture.image = bpy.data.images.load(str(choices[number % len(choices)]))
    mapping.inputs["Rotation"].default_value = (0, 0, rng.uniform(0, 6.28))
    tree.links.new(place.outputs["Generated"], mapping.inputs[0])
    tree.links.new(mapping.outputs[0], picture.inputs[0])
    tree.links.new(picture.outputs[0], tree.nodes["Background"].inputs[0])
    tree.nodes["Background"].inputs[1].default_value = rng.uniform(0.5, 1.4)


def _add_camera(stage: bpy.types.Scene, scene: Scene) -> None:
    view = scene.camera
    data = bpy.data.cameras.new("camera")
    data.sensor_width, data.lens_unit, data.lens = 36, "MILLIMETERS", 36 * view.distance / view.extent
    data.clip_start, data.clip_end = 0.01, 1000
    item = bpy.data.objects.new("camera", data)
    right, up, forward = view.frame()
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.stack([right, up, -forward], axis=1), view.position
    item.matrix_world = mathutils.Matrix(matrix.tolist())
    if view.focus:
        data.dof.use_dof, data.dof.focus_distance = True, view.focus
        data.dof.aperture_fstop = data.lens / 1000 / (2 * view.aperture)
    stage.collection.objects.link(item)
    stage.camera = item


def _emission() -> bpy.types.Material:
    material, tree, output = _material("coverage")
    tree.links.new(tree.nodes.new("ShaderNodeEmission").outputs[0], output.inputs[0])
    return material


def _shoot(stage: bpy.types.Scene, path: Path, samples: int, bounces: int, denoise: bool) -> np.ndarray:
    """Render to 16-bit PNG and read it back: float32 (H, W, 4)."""
    cycles = stage.cycles
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising = samples, False, denoise
    if denoise:
        cycles.denoiser, cycles.denoising_prefilter = "OPENIMAGEDENOISE", "FAST"
    cycles.max_bounces, cycles.diffuse_bounces = bounces, min(bounces, 1)
    cycles.glossy_bounces, cycles.transmission_bounces = min(bounces, 2), min(bounces, 4)
    cycles.transparent_max_bounces = 4
    settings = stage.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGBA", "16"
    stage.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name, image.alpha_mode = "Non-Color", "STRAIGHT"
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(stage.render.resolution_y, stage.render.resolution_x, 4)[::-1]
