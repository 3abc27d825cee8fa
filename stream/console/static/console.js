// The overview's parts come anew as server-sent events. Only what has changed is replaced, and only while somebody looks.
"use strict";

const live = document.querySelector("[data-live]");
if (live) {
  const connection = document.getElementById("connection");
  const shown = new Map();
  let source = null;

  const say = (text) => {
    if (connection.textContent !== text) connection.textContent = text;
  };

  const replace = (place, html) => {
    const focused = place.contains(document.activeElement) ? document.activeElement : null;
    const places = [...place.querySelectorAll("a, [tabindex]")];
    const at = places.indexOf(focused);
    const scrolled = [...place.querySelectorAll(".wide")].map((one) => one.scrollLeft);
    place.innerHTML = html; // the server has escaped every text in it
    place.querySelectorAll(".wide").forEach((one, i) => { one.scrollLeft = scrolled[i] ?? 0; });
    if (focused) place.querySelectorAll("a, [tabindex]")[at]?.focus({ preventScroll: true });
  };

  const begin = () => {
    source = new EventSource(live.dataset.live);
    source.onmessage = (event) => {
      for (const [id, html] of Object.entries(JSON.parse(event.data))) {
        if (shown.get(id) !== html) {
          shown.set(id, html);
          replace(document.getElementById(id), html);
        }
      }
      say("Live: renewed each second.");
    };
    source.onerror = () => say("The console doesn't answer; what is shown is older. Next: see whether it still runs.");
  };

  const look = () => {
    if (document.hidden && source) {
      source.close();
      source = null;
    } else if (!document.hidden && !source) {
      begin();
    }
  };
  document.addEventListener("visibilitychange", look);
  look();
}
