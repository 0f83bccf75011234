// The view that is safe for colour-blind eyes: one switch for all viewers and boards, remembered by the browser. Put
// before their own scripts.
//
// TILES  per pattern an 8 x 8 tile of 0 and 1, 1 where it has ink

const SAFE = "seglab-safe-colours"; // a key in the browser's storage, and an event that tells the others

const chosen = document.documentElement.dataset; // what was chosen on this page, if the browser keeps nothing

function isSafe() {
  try {
    return (chosen.safeColours ?? localStorage.getItem(SAFE)) === "1";
  } catch {
    return false;
  }
}

function makeSafe(on) {
  chosen.safeColours = on ? "1" : "0";
  try {
    localStorage.setItem(SAFE, chosen.safeColours);
  } catch {
    // then it lasts as long as the page
  }
  document.dispatchEvent(new CustomEvent(SAFE, { detail: on }));
}

// Calls apply(on) after every change, as long as `owner` is in the page.
function whenSafe(owner, apply) {
  document.addEventListener(SAFE, function told(event) {
    if (owner.isConnected) apply(event.detail);
    else document.removeEventListener(SAFE, told);
  });
}

// The pattern as a tile of p x p pixels, row by row.
function tileOf(pattern, p) {
  const at = (i) => Math.floor((i * 8) / p);
  return Uint8Array.from({ length: p * p }, (_, i) => TILES[pattern][at(Math.floor(i / p))][at(i % p)]);
}

// A look {colour, ink, pattern} as the background of a swatch, for CSS.
function backgroundOf({ colour, ink, pattern }) {
  const tile = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  const context = tile.getContext("2d");
  context.fillStyle = `rgb(${ink})`;
  tileOf(pattern, 8).forEach((inked, i) => inked && context.fillRect(i % 8, Math.floor(i / 8), 1, 1));
  return (pattern ? `url(${tile.toDataURL()}) ` : "") + `rgb(${colour})`;
}
