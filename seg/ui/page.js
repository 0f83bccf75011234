// Gradio refuses a file that is too large in English, and names the file. This has the page say it in its own language.
() => {
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
