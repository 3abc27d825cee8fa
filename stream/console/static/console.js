// The overview's parts come anew as server-sent events. Only what has changed is replaced, and only while somebody looks.
// An event comes each second. Without one for 5 s nobody answers, whatever the browser knows of the connection, and it is
// begun anew: a browser notices no dead connection, and gives up after a status that isn't 200.
"use strict";

const live = document.querySelector("[data-live]");
if (live) {
  const connection = document.getElementById("connection");
  const shown = new Map();
  const SILENT_MS = 5000;
  let source = null;
  let timer = null;

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

  const lost = () => say("The console doesn't answer; what is shown is older. Next: see whether it still runs.");

  const end = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };

  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (source.readyState !== EventSource.CLOSED) lost(); // else it is said already what is wrong
      end();
      begin();
    }, SILENT_MS);
  };

  const begin = () => {
    source = new EventSource(live.dataset.live);
    source.onmessage = (event) => {
      wait();
      for (const [id, html] of Object.entries(JSON.parse(event.data))) {
        if (shown.get(id) !== html) {
          shown.set(id, html);
          replace(document.getElementById(id), html);
        }
      }
      say("Live: renewed each second.");
    };
    source.addEventListener("refused", (event) => {
      source.close(); // it would ask again at once; that is done when the time is over
      say(JSON.parse(event.data));
    });
    source.onerror = lost;
    wait();
  };

  const look = () => {
    if (document.hidden) end();
    else if (!source) begin();
  };
  document.addEventListener("visibilitychange", look);
  look();
}

// How far a version is scored comes anew by asking for the same page, until it says no more that this goes on.
const renewed = document.querySelector("[data-renew]");
if (renewed) {
  const renew = async () => {
    if (document.hidden) return;
    const reply = await fetch(location.href).catch(() => null);
    if (!reply?.ok || reply.redirected) return; // it is tried again
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const now = page.querySelector("main article")?.parentElement;
    if (!now) return;
    if (now.innerHTML !== renewed.innerHTML && !renewed.contains(document.activeElement)) renewed.innerHTML = now.innerHTML;
    if (!now.hasAttribute("data-renew")) clearInterval(timer);
  };
  const timer = setInterval(renew, 2000);
}
