// The field that finds items by title or id: a combobox with a list, as the ARIA authoring practices describe it.

import { call } from "./service.js";

const $ = (id) => document.getElementById(id);
const MATCHES = 20;

// Calls `choose` with an item that the user chooses, and `fail` with an error.
export function finder(choose, fail) {
  const field = $("search");
  const list = $("matches");
  let found = []; // the items of the list
  let current = -1; // index of the selected one
  let pending = new AbortController(); // of the last search; a newer one aborts it

  function close() {
    pending.abort();
    found = [];
    select(-1);
    list.hidden = true;
    field.ariaExpanded = "false";
  }

  function select(index) {
    current = index;
    [...list.children].forEach((line, number) => line.setAttribute("aria-selected", String(number === index)));
    if (index < 0) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", list.children[index].id);
    list.children[index].scrollIntoView({ block: "nearest" });
  }

  function take(index) {
    const item = found[index];
    close();
    field.value = "";
    choose(item);
  }

  async function search() {
    pending.abort();
    select(-1); // Enter must not take an item of the list before
    const words = field.value.trim();
    if (!words) return close();
    pending = new AbortController();
    const { signal } = pending;
    try {
      const { items } = await call(`v1/items?limit=${MATCHES}&search=${encodeURIComponent(words)}`, undefined, signal);
      show(items);
    } catch (error) {
      fail(error);
    }
  }

  function show(items) {
    found = items;
    list.replaceChildren(...items.map(line));
    if (!items.length) list.append(Object.assign(document.createElement("li"), { textContent: "No item found." }));
    list.hidden = false;
    field.ariaExpanded = "true";
    select(items.length ? 0 : -1);
  }

  function line(item, index) {
    const made = Object.assign(document.createElement("li"), { id: `match-${index}`, textContent: nameOf(item), dir: "auto" });
    made.setAttribute("role", "option");
    made.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
    made.addEventListener("click", () => take(index));
    return made;
  }

  field.addEventListener("input", search);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) {
      event.preventDefault();
      select((current + step + found.length) % found.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (current >= 0) take(current);
    } else if (event.key === "Escape") close();
  });
}

// What an item is called: its title, or its id if it has none.
export const nameOf = ({ id, title }) => title || id;
