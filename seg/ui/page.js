// What Gradio leaves undone, run once when the page has loaded.
() => {
  // The examples are pictures without words: give each button its file's name for those who cannot see it.
  const nameExamples = () => {
    for (const picture of document.querySelectorAll("#examples button:not([aria-label]) img")) {
      picture.closest("button").ariaLabel = picture.src.replace(/.*\/|\.\w+$/g, "").replaceAll("_", " ");
    }
  };
  new MutationObserver(nameExamples).observe(document.body, { childList: true, subtree: true }); // they come later
  nameExamples();

  // Gradio refuses a file that is too large in English, and names it. This has the page say it in its own language.
  const refuse = (event, files) => {
    const isPhoto = event.target instanceof Element && event.target.closest("#photo");
    if (!isPhoto || ![...(files || [])].some((file) => file.size > MAX_BYTES)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type === "change") event.target.value = ""; // so that the same file counts as a new choice
    document.querySelector("#too-large").click();
  };
  document.addEventListener("change", (event) => refuse(event, event.target.files), true);
  document.addEventListener("drop", (event) => refuse(event, event.dataTransfer && event.dataTransfer.files), true);
}
