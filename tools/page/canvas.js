// Drawing on the view: strokes, boxes and an eraser on a canvas above the picture; pasting a photograph. Everything is
// delegated from the document, since the page replaces the canvas with every photograph.
(() => {
  const colours = COLOURS;
  const mostUndone = 20;
  let start = null, history = [], drawnOn = null;
  const canvas = () => document.querySelector("#marks");
  const chosen = () => document.querySelector("[data-tool].chosen")?.dataset.tool || "object";
  const point = (event) => {
    const box = canvas().getBoundingClientRect();
    return [((event.clientX - box.left) * canvas().width) / box.width, ((event.clientY - box.top) * canvas().height) / box.height];
  };
  const remember = (pen) => {
    if (drawnOn !== canvas()) [history, drawnOn] = [[], canvas()];
    history.push(pen.getImageData(0, 0, canvas().width, canvas().height));
    if (history.length > mostUndone) history.shift();
  };
  const brush = () => Number(document.querySelector("#brush")?.value || 12);
  const paint = (pen, from, to) => {
    pen.globalCompositeOperation = chosen() === "eraser" ? "destination-out" : "source-over";
    pen.strokeStyle = colours[chosen()] || "#000";
    pen.lineCap = "round";
    pen.lineWidth = brush();
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(to[0] + 0.01, to[1]);
    pen.stroke();
  };
  const outline = (pen, from, to) => {
    pen.putImageData(history.at(-1), 0, 0);
    pen.globalCompositeOperation = "source-over";
    pen.strokeStyle = colours.box;
    pen.lineWidth = 4;
    pen.strokeRect(Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
  };
  document.addEventListener("pointerdown", (event) => {
    if (event.target.id !== "marks") return;
    event.preventDefault();
    const pen = canvas().getContext("2d", { willReadFrequently: true });
    start = point(event);
    remember(pen);
    if (chosen() !== "box") paint(pen, start, start);
  });
  document.addEventListener("pointermove", (event) => {
    if (!start || !canvas()) return;
    const pen = canvas().getContext("2d", { willReadFrequently: true }), here = point(event);
    if (chosen() === "box") outline(pen, start, here);
    else {
      paint(pen, start, here);
      start = here;
    }
  });
  ["pointerup", "pointercancel"].forEach((kind) => document.addEventListener(kind, () => { start = null; }));
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-tool]");
    if (!button) return;
    const pen = canvas()?.getContext("2d", { willReadFrequently: true });
    if (button.dataset.tool === "clear") {
      if (!pen) return;
      remember(pen);
      pen.clearRect(0, 0, canvas().width, canvas().height);
    } else if (button.dataset.tool === "undo") {
      if (drawnOn === canvas() && history.length) pen.putImageData(history.pop(), 0, 0);
    } else {
      document.querySelectorAll("[data-tool]").forEach((other) => other.classList.toggle("chosen", other === button));
    }
  });
  const open = (file, patience) => {
    const input = document.querySelector("#photograph input[type=file]");
    if (!input) {  // a photograph is open: its field takes another once it is cleared
      if (patience === 20) document.querySelector("#photograph button[aria-label]")?.click();
      if (patience > 0) setTimeout(() => open(file, patience - 1), 100);
      return;
    }
    const files = new DataTransfer();
    files.items.add(file);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files || [])].find((each) => each.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    open(file, 20);
  });
  window.readMarks = () => (canvas() ? canvas().toDataURL("image/png") : "");
})();
