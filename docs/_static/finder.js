// Filters the finder's table; the address keeps the choice, so that a search can be sent on.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("finder");
  if (!form) return;
  const rows = [...document.querySelectorAll("#methods tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());

  const fits = (row, text, want) => {
    const d = row.dataset;
    const steps = d.steps === "1";
    const has = (need) => want.have.includes(need);
    return (
      (!want.have.length || (steps && d.needs.split(" ").filter(Boolean).every(has))) &&
      (!want.kind || d.kind === want.kind) &&
      (!want.copies || (d.copies !== "" && Number(d.copies) <= Number(want.copies))) &&
      (!want.elementwise || d.elementwise === "1") &&
      (!want.norate || (steps && d.rate === "0")) &&
      want.words.every((word) => text.includes(word))
    );
  };

  const filter = () => {
    const data = new FormData(form);
    const want = {
      have: data.getAll("have"), kind: data.get("kind"), copies: data.get("copies"),
      elementwise: data.has("elementwise"), norate: data.has("norate"),
      words: data.get("words").toLowerCase().split(/\s+/).filter(Boolean),
    };
    let found = 0;
    rows.forEach((row, i) => { row.hidden = !fits(row, texts[i], want); found += !row.hidden; });
    document.getElementById("found").textContent = `${found} of ${rows.length} methods`;
    const chosen = new URLSearchParams([...data].filter(([, value]) => value));
    history.replaceState(null, "", chosen.size ? `?${chosen}` : location.pathname);
  };

  for (const [name, value] of new URLSearchParams(location.search)) {
    const field = form.querySelector(`[name="${CSS.escape(name)}"][value="${CSS.escape(value)}"]`) ?? form.elements[name];
    if (field?.type === "checkbox") field.checked = true;
    else if (field && "value" in field) field.value = value;
  }
  form.addEventListener("input", filter);
  filter();
});
