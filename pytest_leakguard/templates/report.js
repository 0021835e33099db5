"use strict";
// Sorts, filters, folds and copies; the page is whole without it. Makes no markup of any text.
(() => {
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const table = document.querySelector("table.causes");
  for (const node of all("[data-script]")) node.hidden = false;

  const cards = new Map(all("details.cause").map(card => [card.dataset.cause, card]));
  const unfold = () => {
    const inside = location.hash && document.getElementById(location.hash.slice(1));
    const card = inside && inside.closest("details");
    if (card) { card.open = true; card.scrollIntoView(); }
  };
  addEventListener("hashchange", unfold);
  unfold();
  for (const button of all("[data-fold]"))
    button.addEventListener("click", () => { for (const card of cards.values()) card.open = button.dataset.fold === "open"; });

  let printed = [];
  addEventListener("beforeprint", () => {
    printed = all("details:not([open])");
    for (const card of printed) card.open = true;
  });
  addEventListener("afterprint", () => { for (const card of printed) card.open = false; });

  for (const block of all("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy " + block.dataset.copy);
    button.addEventListener("click", async () => {
      const range = document.createRange();
      range.selectNodeContents(block.firstElementChild || block);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      let done = false;
      try { await navigator.clipboard.writeText(range.toString()); done = true; } catch { done = document.execCommand("copy"); }
      button.textContent = done ? "Copied" : "Selected";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    block.append(button);
  }
  if (!table) return;

  const rows = all("tbody tr", table), body = table.tBodies[0];
  const text = document.getElementById("filter"), status = document.getElementById("filter-status");
  const shown = document.getElementById("shown");
  const choose = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const card = cards.get(row.dataset.fingerprint), told = (row.textContent + " " + (card ? card.textContent : "")).toLowerCase();
      const fits = words.every(word => told.includes(word)) && (!status.value || row.dataset.status === status.value);
      row.hidden = !fits;
      if (card) card.hidden = !fits;
      count += fits;
    }
    shown.textContent = count + " of " + rows.length;
  };
  text.addEventListener("input", choose);
  status.addEventListener("change", choose);
  choose();

  const value = (row, at) => {
    const cell = row.cells[at], number = cell.dataset.value;
    return number === undefined ? cell.textContent.trim().toLowerCase() : Number(number);
  };
  all("thead th", table).forEach((heading, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const upwards = heading.getAttribute("aria-sort") === "descending" || !(heading.hasAttribute("aria-sort") || heading.dataset.first === "descending");
      for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      const compare = (a, b) => { const x = value(a, at), y = value(b, at); return x < y ? -1 : x > y ? 1 : 0; };
      body.append(...[...rows].sort((a, b) => upwards ? compare(a, b) : compare(b, a)));
    });
  });
})();
