// The page for people. It asks for JSON and puts texts on the page as texts, never as HTML: what
// is shown was written by strangers.
"use strict";

const path = document.body.dataset.path;
const main = document.getElementById("main");
const summary = document.getElementById("summary");
const login = document.getElementById("login");
const STATES = ["done", "running", "queued", "failed"];
const PERIOD = 1000; // milliseconds between two looks
let shown = ""; // what the page shows, as JSON: nothing is drawn twice
let state = new URLSearchParams(location.search).get("state") || "";
let first = 0;

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children.map(String).map((text, n) =>
    children[n] instanceof Node ? children[n] : text));
  return made;
}

function table(heads, rows) {
  const line = (name, cells) => element("tr", {}, ...cells.map((cell, n) =>
    element(name, { class: heads[n][1] || null }, cell)));
  return element("div", { class: "wide" }, element("table", {},
    element("thead", {}, line("th", heads.map(([text]) => text))),
    element("tbody", {}, ...rows.map((cells) => line("td", cells)))));
}

function span(seconds) {
  if (seconds === null) return "-";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
  const days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24;
  if (days) return `${days} d ${hours} h`;
  const minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

function rate(perSecond) {
  if (perSecond === null) return "- jobs/s";
  for (const [unit, seconds] of [["s", 1], ["min", 60], ["h", 3600]]) {
    if (perSecond * seconds >= 1 || unit === "h") return `${(perSecond * seconds).toFixed(1)} jobs/${unit}`;
  }
}

function moment(seconds) {
  return seconds ? new Date(seconds * 1000).toLocaleString() : "-";
}

function jobLink(number) {
  return element("a", { href: `${path}jobs/${number}` }, String(number));
}

async function ask(what) {
  const answer = await fetch(path + what, { credentials: "same-origin" });
  if (answer.status === 401) {
    login.hidden = false;
    main.replaceChildren();
    summary.textContent = "The key of an account of this project is wanted.";
    return null;
  }
  if (answer.status === 404) throw new Error("There is no such job.");
  if (!answer.ok) throw new Error(`The project answers with status ${answer.status}.`);
  login.hidden = true;
  return answer.json();
}

// ------------------------------------------------------------ how the batch is

function drawBatch(batch, list) {
  const jobs = batch.jobs, finished = jobs.done + jobs.failed;
  const percent = jobs.total ? Math.floor(100 * finished / jobs.total) : 0;
  summary.textContent = jobs.total === 0 ? "No jobs yet." :
    `${finished} of ${jobs.total} jobs finished (${percent} %), ${rate(batch.rate)}, ` +
    (finished === jobs.total ? "all is done" : `${span(batch.time_left)} left`);
  document.title = `${percent} % - ${document.querySelector("h1").textContent}`;
  const bar = element("div", { class: "bar", role: "img", "aria-label": `${percent} % finished` },
    ...STATES.map((one) => {
      const part = element("span", { class: one, title: `${jobs[one]} ${one}` });
      part.style.width = `${jobs.total ? 100 * jobs[one] / jobs.total : 0}%`;
      return part;
    }));
  const tiles = element("ul", { class: "tiles" }, ...STATES.map((one) =>
    element("li", { id: `jobs-${one}` }, element("b", {}, jobs[one]),
      element("i", { class: one }), one)),
    element("li", { id: "retries" }, element("b", {}, batch.retries), "instances made again"));
  main.replaceChildren(bar, tiles, ...drawErrors(batch.errors), ...drawJobs(list),
    ...drawHosts(batch.hosts));
}

function drawErrors(errors) {
  if (!errors.length) return [];
  return [element("h2", {}, "What went wrong"), table(
    [["Cause", "text"], ["Instances", "number"], ["For example job", "number"]],
    errors.map((one) => [one.cause, one.instances, jobLink(one.job)]))];
}

function drawJobs(list) {
  const links = ["", ...STATES].map((one) => {
    const link = element("a", { href: one ? `?state=${one}` : "?",
      "aria-current": one === state ? "page" : null }, one || "all");
    link.addEventListener("click", (event) => {
      event.preventDefault();
      history.replaceState(null, "", link.getAttribute("href"));
      [state, first] = [one, 0];
      look();
    });
    return link;
  });
  const more = [];
  if (first > 0) more.push(step("from the first", 0));
  if (list.next !== null) more.push(step(`from job ${list.next} on`, list.next));
  return [element("h2", {}, "Jobs"), element("nav", { "aria-label": "Jobs by state" }, ...links),
    table([["Job", "number"], ["State"], ["Attempts", "number"], ["Host"], ["Why", "text"]],
      list.jobs.map((one) => [jobLink(one.index), one.state, one.attempts, one.host, one.reason])),
    element("nav", { "aria-label": "More jobs" }, ...more)];
}

function step(text, number) {
  const button = element("button", { type: "button" }, text);
  button.addEventListener("click", () => { first = number; look(); });
  return button;
}

function drawHosts(hosts) {
  if (!hosts.length) return [];
  return [element("h2", {}, "Hosts"), table(
    [["Host"], ["What"], ["Good", "number"], ["Errors", "number"], ["Running", "number"],
      ["Last report"]],
    hosts.map((one) => [one.name,
      one.kind === "client" ? `BOINC ${one.client}, ${one.cpus} CPUs, ${one.system}` : "emulated",
      one.successes, one.errors, one.running, moment(one.last_report)]))];
}

// ------------------------------------------------------------ one job

function drawJob(job) {
  summary.textContent = `Job ${job.index} (${job.name}): ${job.state}`;
  document.title = summary.textContent;
  const facts = table([["Slave"], ["Quorum", "number"], ["Delay bound", "number"],
    ["Input", "number"], ["Why", "text"]],
    [[job.slave, job.quorum, span(job.delay_bound), `${job.input_bytes} bytes`, job.reason]]);
  const instances = job.instances.flatMap((one) => [
    element("h2", {}, `Instance ${one.instance} on ${one.host}: ${one.outcome}`),
    element("p", {}, `Sent ${moment(one.sent)}, came back ${moment(one.received)}, ` +
      `${span(one.elapsed)} of computing, ` +
      (one.signal ? `ended by signal ${one.exit_status}` : `exit status ${one.exit_status}`)),
    ...one.trickles.map((said) =>
      element("p", { class: "said" }, `${moment(said.time)}: ${said.text}`)),
    ...(one.stderr ? [element("pre", {}, one.stderr)] : []),
  ]);
  main.replaceChildren(facts, ...instances,
    element("p", {}, element("a", { href: path }, "All jobs")));
}

// ------------------------------------------------------------ again and again

const number = location.pathname.match(/jobs\/([0-9]+)$/);

async function look() {
  try {
    if (number) {
      const job = await ask(`api/jobs/${number[1]}`);
      if (job && JSON.stringify(job) !== shown) {
        shown = JSON.stringify(job);
        drawJob(job);
      }
    } else {
      const batch = await ask("api/batch");
      const list = batch && await ask(`api/jobs?state=${encodeURIComponent(state)}&first=${first}`);
      const now = batch && JSON.stringify([{ ...batch, time: 0 }, list, state, first]);
      if (list && now !== shown) {
        shown = now;
        drawBatch(batch, list);
      }
    }
    summary.classList.remove("stale");
  } catch (problem) {
    shown = "";
    summary.textContent = problem instanceof TypeError
      ? "The project does not answer; this page asks again." : problem.message;
    summary.classList.add("stale");
  }
}

login.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch(`${path}login`, { method: "POST", body: new URLSearchParams(new FormData(login)) });
  document.getElementById("refused").textContent = answer.ok ? "" : "This is no account key of the project.";
  if (answer.ok) { login.reset(); look(); }
});

(async () => {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((wake) => setTimeout(wake, PERIOD));
  }
})();
