// What Gradio leaves undone, run once when the page has loaded.
() => {
  const large = new URLSearchParams(location.search).get("large") === "1"; // the switch in the lab does it later
  document.documentElement.classList.toggle("seglab-large", large);

  // Gradio labels its buttons in English or in the browser's language, and examples, pictures without words, not at
  // all. Here they follow the switch: a label is looked up under Gradio's words and under each of ours.
  const known = new Map();
  for (const [theirs, ours] of Object.entries(GRADIO_WORDS)) {
    for (const text of [theirs, ...Object.values(ours)]) known.set(text, ours);
  }
  const language = () => document.querySelector(".viewer[lang]")?.lang;
  const plain = (text) => text.replaceAll("\u00a0", " ").trim();
  const end = (text) => text.replace(/^Invalid file types?: .* (?=Only )/s, ""); // of what is refused before the upload
  const ours = (text) => known.get(end(plain(text)))?.[language().slice(0, 2)];
  const put = (owner, name, value) => value && owner[name] !== value && (owner[name] = value);
  const nameAll = () => {
    if (!language()) return;
    put(document.documentElement, "lang", language()); // screen readers choose their voice by it
    for (const picture of document.querySelectorAll("#examples button img")) {
      const file = picture.src.replace(/.*\/|\.\w+$/g, "");
      put(picture.closest("button"), "ariaLabel", ours(file) || file);
    }
    const label = document.querySelector("#photo [data-testid=block-label]");
    for (const picture of document.querySelectorAll("#photo img")) put(picture, "alt", label?.textContent.trim());
    for (const node of document.querySelectorAll("#photo [aria-label], #photo [title], [data-testid=toast-close]")) {
      const dropping = node.hasAttribute("aria-dropeffect") && ours("Drop an image file here to upload");
      put(node, "ariaLabel", dropping || ours(node.ariaLabel || ""));
      put(node, "title", ours(node.title));
    }
    for (const place of document.querySelectorAll("#photo, [data-testid=toast-body]")) {
      const texts = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) put(texts.currentNode, "data", ours(texts.currentNode.data));
    }
  };
  const watched = { childList: true, subtree: true, attributeFilter: ["lang", "aria-label", "title"] };
  const naming = new MutationObserver(nameAll);
  naming.observe(document.body, watched);
  naming.observe(document.documentElement, { attributeFilter: ["lang"] }); // Gradio writes the browser's language there
  nameAll();

  // Beside the clock that runs while a visitor waits.
  const tellPlace = () => {
    for (const node of document.querySelectorAll(".progress-text")) {
      for (const text of node.childNodes) {
        const [, place, count] = /^queue: (\d+)\/(\d+)/.exec(text.data) || [];
        const told = place && ours("queue").replace("{place}", place).replace("{count}", count);
        put(text, "data", told || ours(text.data || ""));
      }
    }
  };
  new MutationObserver(tellPlace).observe(document.body, { childList: true, subtree: true, characterData: true });

  const complain = (reason) => document.querySelector("#refuse-" + reason).click(); // in the page's language

  // Gradio refuses a file that is too large in English, and names it.
  const refuse = (event, files) => {
    const isPhoto = event.target instanceof Element && event.target.closest("#photo");
    if (!isPhoto || ![...(files || [])].some((file) => file.size > MAX_BYTES)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type === "change") event.target.value = ""; // so that the same file counts as a new choice
    complain("bytes");
  };
  document.addEventListener("change", (event) => refuse(event, event.target.files), true);
  document.addEventListener("drop", (event) => refuse(event, event.dataTransfer && event.dataTransfer.files), true);

  // Gradio knows no Ctrl+V, and its paste button stays silent when there is nothing to paste, and refuses drops after.
  const give = (file) => {
    const input = document.querySelector("#photo input[type=file]");
    const list = new DataTransfer();
    list.items.add(file);
    input.files = list.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const isPicture = (type) => type.startsWith("image/");
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find(({ type }) => isPicture(type));
    if (!file || event.target.closest("textarea, input[type=text]")) return;
    event.preventDefault();
    give(file);
  });
  const readClipboard = async () => {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find(isPicture);
      if (type) return new File([await item.getType(type)], "clipboard." + type.slice("image/".length), { type });
    }
    throw new Error("no picture");
  };
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#photo [data-testid=source-select] button:last-of-type")) return;
    event.stopImmediatePropagation();
    readClipboard().then(give, () => complain("clipboard")); // refused, empty, or no clipboard without https
  }, true);

  // Gradio says nothing when there is no camera, or when the browser does not allow it.
  const devices = navigator.mediaDevices || {}; // without https there are none
  const ask = devices.getUserMedia?.bind(devices) || (() => Promise.reject());
  devices.getUserMedia = (wish) => ask(wish).catch(() => {
    complain("webcam");
    return new Promise(() => {}); // never answered: Gradio goes on waiting, and its button can be pressed again
  });
  if (!navigator.mediaDevices) Object.defineProperty(navigator, "mediaDevices", { value: devices });
}
