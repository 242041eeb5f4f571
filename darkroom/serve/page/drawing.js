// A canvas to draw on: white ink on black, as the pictures of grey models are.

const SIDE = 448; // pixels of the longer side
const WIDTH = 0.08; // of a line, in the shorter side

const canvas = document.getElementById("ink");
const ink = canvas.getContext("2d");
let last = null; // where the pen was

// Shows the canvas in the shape of a model's pictures. `begun` is called with each stroke, `drawn` with a PNG after it.
export function start(height, width, begun, drawn) {
  const scale = SIDE / Math.max(height, width);
  Object.assign(canvas, { width: Math.round(scale * width), height: Math.round(scale * height), hidden: false });
  blacken();
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    begun();
    stroke(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last && event.isPrimary) event.getCoalescedEvents().forEach(stroke);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (last) canvas.toBlob(drawn, "image/png");
      last = null;
    });
  }
}

export function blacken() {
  ink.fillRect(0, 0, canvas.width, canvas.height);
}

function stroke({ clientX, clientY }) {
  const { width, height } = canvas;
  const box = canvas.getBoundingClientRect();
  const point = [((clientX - box.left) * width) / box.width, ((clientY - box.top) * height) / box.height];
  Object.assign(ink, { strokeStyle: "#fff", lineCap: "round", lineWidth: WIDTH * Math.min(width, height) });
  ink.beginPath();
  ink.moveTo(...(last ?? point));
  ink.lineTo(...point);
  ink.stroke();
  last = point;
}
