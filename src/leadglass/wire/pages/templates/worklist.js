// The worklist while somebody types. It asks what the form asks, by the form, and puts what the answering page says in the place of what is
// there: without this file the button does the same. One question at a time, so that no answer overtakes a newer one.

const PAUSE_MILLISECONDS = 200;
const PARTS = ["said", "count", "found"];

const form = document.querySelector("search form");
const typed = [...form.querySelectorAll("input:not([type=hidden], [type=date])")];
const part = (name, page = document) => page.getElementById(name);

let pause = 0;
let asking = false;
let changed = false;

async function ask() {
  changed = false;
  asking = true;
  part("found").setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (PARTS.every((name) => part(name, page))) {
      PARTS.forEach((name) => part(name).replaceChildren(...part(name, page).childNodes));
    } else {
      // Not the worklist: whoever asked is signed out, or it cannot be answered now.
      location.assign(answer.url);
    }
  } catch {
    // No connection: what is there stays, and the button says what is wrong.
  } finally {
    asking = false;
    part("found").removeAttribute("aria-busy");
  }
  if (changed) {
    await ask();
  }
}

form.addEventListener("input", () => {
  changed = true;
  clearTimeout(pause);
  pause = setTimeout(() => asking || ask(), PAUSE_MILLISECONDS);
});

// Down leads from the fields to the first study, up and down from study to study, Escape back to the first field.
document.addEventListener("keydown", (event) => {
  const rows = [...part("found").querySelectorAll("tbody a")];
  const at = rows.indexOf(document.activeElement);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) {
    return;
  }
  if (at >= 0 && event.key === "Escape") {
    typed[0].focus();
  } else if (step && (at >= 0 || (step > 0 && typed.includes(document.activeElement)))) {
    (rows[at + step] ?? (at === 0 ? typed[0] : rows[at]))?.focus();
    event.preventDefault();
  }
});
