
"use strict";
const rows = [...document.querySelectorAll(".row")];

function choices() {
  return rows.map((row, index) => {
    const choice = row.querySelector("input:checked")?.value ?? null;
    const tuned = row.dataset.tuned;
    const better = choice === null || choice === "equal" ? choice : choice === tuned ? "tuned" : "base";
    return { row: index + 1, choice, tuned, better };
  });
}

function tally() {
  const found = { tuned: 0, base: 0, equal: 0 };
  for (const { better } of choices()) if (better !== null) found[better] += 1;
  return found;
}

function update() {
  const { tuned, base, equal } = tally();
  document.getElementById("rated").textContent = tuned + base + equal;
  document.getElementById("tally").textContent =
    `Better: the tuned model ${tuned}, the base ${base}; equally good: ${equal}.`;
}

document.querySelector("main").addEventListener("change", update);
document.getElementById("export").addEventListener("click", (event) => {
  const document_ = { title: document.title, tally: tally(), choices: choices() };
  const blob = new Blob([JSON.stringify(document_, null, 2)], { type: "application/json" });
  const link = event.currentTarget;
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
});
update();
