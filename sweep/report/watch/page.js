"use strict";
// Asks every two seconds how the run stands. A newer report is loaded behind the one that is shown, moved to where the
// reader is, and then shown in its place, so that nothing flickers or jumps.
const SECONDS = 2;
const main = document.querySelector("main");
let shown = null;     // the frame that is shown
let version = null;   // of the report that is shown or being loaded
let loading = false;

function text(id, value) {
  const element = document.getElementById(id);
  if (element.textContent !== value) element.textContent = value;
}

function state(word) {
  text("state", word);
  document.getElementById("state").className = word.split(" ")[0];
}

function describe(status) {
  state(status.state);
  text("head", status.lines[0] || "");
  text("rest", status.lines.slice(1).join(" · "));
  document.title = `${status.run}: ${status.state}`;
  const bar = document.getElementById("bar");
  bar.hidden = !(status.total > 0) || status.state !== "running";
  if (!bar.hidden) { bar.max = status.total; bar.value = Math.min(status.done, status.total); }
}

// What the reader has opened, and where the reader is.
function place(from, to) {
  const opened = from.document.querySelectorAll("details");
  to.document.querySelectorAll("details").forEach((one, index) => {
    if (opened[index]) one.open = opened[index].open;
  });
  to.scrollTo(from.scrollX, from.scrollY);
}

// Charts give the page its height, and they are drawn after it has loaded.
async function drawn(page) {
  for (let wait = 0; wait < 200 && page.querySelector(".plot") && page.body.dataset.charts !== "drawn"; wait++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function load(next) {
  loading = true;
  version = next;
  const frame = document.createElement("iframe");
  frame.title = "report";
  frame.className = shown ? "next" : "";
  frame.addEventListener("load", async () => {
    await drawn(frame.contentDocument);
    main.querySelector("p")?.remove();
    if (shown) { place(shown.contentWindow, frame.contentWindow); shown.remove(); }
    frame.className = "";
    shown = frame;
    loading = false;
  });
  frame.src = `/report?${next}`;
  main.append(frame);
}

async function look() {
  try {
    const answer = await fetch("/status", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const status = await answer.json();
    describe(status);
    if (status.report && status.report !== version && !loading) load(status.report);
  } catch (error) {
    state("lost");
    text("head", "`sweep watch` does not answer: it has ended, or the connection is gone. What stands below is old.");
    text("rest", "");
  }
  setTimeout(look, SECONDS * 1000);
}

look();
