// A canvas to draw on: white on black, like the images of most grey models.

const SIDE = 448; // of the longer side, in pixels
const WIDTH = 0.08; // of a line, relative to the shorter side

const canvas = document.getElementById("ink");
const ink = canvas.getContext("2d");
let last = null; // the last position of the pen
let cleared = 0; // how often: a late drawing is gone
let pen = null; // the pointer that draws: others, such as a palm, are ignored

// Shows the canvas with the aspect ratio of the model's input. Calls `begun` at the start of a stroke, and `drawn`
// with a PNG at its end.
export function start(height, width, begun, drawn) {
  const scale = SIDE / Math.max(height, width);
  Object.assign(canvas, { width: Math.round(scale * width), height: Math.round(scale * height), hidden: false });
  blacken();
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary || last) return;
    event.preventDefault();
    pen = event.pointerId;
    canvas.setPointerCapture(event.pointerId);
    begun();
    stroke(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last || event.pointerId !== pen) return;
    const events = event.getCoalescedEvents?.() ?? []; // browsers have it over HTTPS and on this machine only
    (events.length ? events : [event]).forEach(stroke);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(end, (event) => {
      if (!last || event.pointerId !== pen) return;
      const before = cleared;
      canvas.toBlob((blob) => cleared === before && drawn(blob), "image/png");
      last = null;
    });
  }
}

export function blacken() {
  cleared += 1;
  ink.fillRect(0, 0, canvas.width, canvas.height);
}

// Puts an image on the canvas as large as it fits, on white like the service.
export function put(image) {
  const scale = Math.min(canvas.width / image.naturalWidth, canvas.height / image.naturalHeight);
  const [width, height] = [scale * image.naturalWidth, scale * image.naturalHeight];
  const box = [(canvas.width - width) / 2, (canvas.height - height) / 2, width, height];
  blacken();
  ink.fillStyle = "#fff";
  ink.fillRect(...box);
  ink.drawImage(image, ...box);
  ink.fillStyle = "#000";
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
