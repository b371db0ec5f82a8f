// What is wider than the screen can be scrolled with the keyboard too: it takes part in the order of the Tab key.
addEventListener("load", () => {
  for (const part of document.querySelectorAll(".formula > math, .formula, .pst-scrollable-table-container"))
    if (part.scrollWidth > part.clientWidth) part.setAttribute("tabindex", "0");
});
