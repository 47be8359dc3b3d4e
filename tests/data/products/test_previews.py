import numpy as np

from data.products.previews import checkerboard, over, overlay_tokens, overlay_trimap, panels, preview

IMAGE = np.full((50, 70, 3), 128, np.uint8)


def test_overlays_show_what_they_should():
    trimap = np.zeros((50, 70), np.uint8)
    trimap[:, 20:40], trimap[:, 40:] = 128, 255
    shown = overlay_trimap(IMAGE, trimap)
    assert (shown[0, 50] == 128).all() and (shown[0, 0] < 60).all() and shown[0, 30, 0] > shown[0, 30, 1]
    keep = np.zeros((4, 5), bool)
    keep[1, 2] = True
    sent = overlay_tokens(IMAGE, keep)
    assert sent.shape == IMAGE.shape
    assert (sent[16:32, 32:48, 0] > 150).all() and (sent[:16] < 60).all()


def test_composites_follow_alpha():
    white, black = np.ones((2, 2, 3)), np.zeros((2, 2, 3))
    alpha = np.array([[0, 0.25], [0.5, 1]])
    assert np.allclose(over(white, alpha, black)[..., 0], alpha)


def test_checkerboard_alternates():
    board = checkerboard(33, 40)
    assert board.shape == (33, 40, 3)
    assert board[0, 0, 0] != board[0, 16, 0] != board[16, 16, 0]


def test_all_panels_are_there():
    alpha = np.zeros((50, 70), np.float32)
    keep = [np.ones((4, 5), bool)] * 2
    without, with_routing = (preview(IMAGE, alpha.astype(np.uint8), alpha, IMAGE / 255, maps) for maps in ([], keep))
    assert with_routing.shape[0] == 2 * without.shape[0]
    assert with_routing.shape[1] == without.shape[1]
    large = panels([("a", np.zeros((2000, 3000), np.uint8))], max_side_px=300)
    assert large.shape[1] == 304
