// The list of classes: a button and a key for each, and a field to type a name.

const KEYS = "123456789abcdefghijklmnopqrstuvwxyz"; // 0 means unclear
const $ = (id) => document.getElementById(id);

let names = [];
let choose; // called with the name of a class, or with a typed text that is none

export function start(classes, chosen) {
  names = classes;
  choose = chosen;
  $("classes").replaceChildren(...classes.map(item));
  $("classes").classList.toggle("many", classes.length > 12);
  $("name").addEventListener("input", filter);
  $("name").addEventListener("keydown", (event) => {
    if (event.isComposing) return; // Enter and Escape belong to the input method
    if (event.key === "Escape") leave();
    if (event.key === "Enter") take(event);
  });
}

// The class that a key stands for; undefined if it stands for none.
export const named = (key) => (key.length === 1 && KEYS.includes(key) ? names[KEYS.indexOf(key)] : undefined);

export function leave() {
  $("name").value = "";
  filter();
  $("name").blur();
}

function item(name, number) {
  const row = document.createElement("li");
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const label = Object.assign(document.createElement("span"), { textContent: name });
  button.append(label);
  if (number < KEYS.length) {
    button.prepend(Object.assign(document.createElement("kbd"), { textContent: KEYS[number].toUpperCase(), ariaHidden: "true" }));
    button.setAttribute("aria-keyshortcuts", KEYS[number]);
  }
  button.addEventListener("click", () => choose(name));
  row.append(button);
  return row;
}

const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().trim();

// Names that begin with the typed text come first, then those that contain it.
function matches(typed) {
  const text = plain(typed);
  const starts = names.filter((name) => plain(name).startsWith(text));
  return [...starts, ...names.filter((name) => !starts.includes(name) && plain(name).includes(text))];
}

// A name as it is typed comes first: without its marks or capitals it may be that of another class.
function best(typed) {
  const exact = names.find((name) => name.normalize() === typed.trim().normalize());
  return exact ?? names.find((name) => plain(name) === plain(typed)) ?? matches(typed)[0];
}

function filter() {
  const typed = $("name").value;
  const found = new Set(matches(typed));
  const first = typed.trim() ? best(typed) : undefined;
  for (const [number, row] of [...$("classes").children].entries()) {
    row.hidden = !found.has(names[number]);
    row.classList.toggle("first", names[number] === first);
  }
  $("none").hidden = found.size > 0;
  $("found").textContent = !typed.trim() ? "" : first ? `${found.size} of ${names.length} classes. Enter chooses ${first}.` : "No class has this name.";
}

function take(event) {
  event.preventDefault();
  const typed = $("name").value;
  if (typed.trim()) choose(best(typed) ?? typed.trim());
}
