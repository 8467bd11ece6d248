"use strict";
// All sounds of a clip play at once, each through a gain of its own; choosing a system only moves the gains,
// so that the position stays and there is no gap.
(() => {
  const FADE = 0.008; // s, against clicks
  const AHEAD = 0.03; // s, so that all sounds of a clip start on the same sample
  const STEP = 1; // s, of the arrow keys
  const status = document.getElementById("status");
  let context = null;
  let output = null;
  let active = null;
  let equal = false; // all sounds of a clip equally loud
  let blind = false; // no names, and the systems of each clip in a random order
  const votes = new Map(); // clip to the system that was preferred, blind

  function audio() {
    if (!context) {
      context = new AudioContext();
      output = context.createGain();
      output.connect(context.destination);
    }
    return context;
  }

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  }

  function decoded(clip) {
    if (!clip.buffers) {
      const sounds = JSON.parse(clip.root.querySelector("script.sounds").textContent);
      clip.buffers = Promise.all(sounds.map((text) => audio().decodeAudioData(bytes(text))));
    }
    return clip.buffers;
  }

  function position(clip) {
    if (!clip.sources.length) return clip.at;
    const gone = Math.max(clip.at, context.currentTime - clip.started);
    return clip.loop ? gone % clip.seconds : Math.min(gone, clip.seconds);
  }

  async function play(clip) {
    clips.filter((other) => other !== clip).forEach(stop);
    const turn = ++clip.turn;
    clip.playing = true;
    show(clip);
    let buffers;
    try {
      audio().resume();
      buffers = await decoded(clip);
    } catch (error) {
      clip.buffers = null;
      stop(clip);
      clip.trouble.textContent = "this browser cannot decode FLAC";
      return;
    }
    if (turn !== clip.turn) return; // stopped or sought in the meantime
    if (clip.at >= clip.seconds - 0.01) clip.at = 0;
    const when = context.currentTime + AHEAD;
    clip.started = when - clip.at;
    clip.gains = buffers.map((_, index) => new GainNode(context, { gain: level(clip, index) }));
    clip.sources = buffers.map((buffer, index) => {
      const source = new AudioBufferSourceNode(context, { buffer, loop: clip.loop });
      source.connect(clip.gains[index]).connect(output);
      source.start(when, clip.at);
      return source;
    });
    clip.sources[0].onended = () => {
      if (turn !== clip.turn) return;
      stop(clip);
      clip.at = 0;
      show(clip);
    };
    requestAnimationFrame(() => follow(clip, turn));
  }

  function stop(clip) {
    if (!clip.playing) return;
    clip.at = position(clip);
    clip.turn += 1;
    clip.playing = false;
    clip.gains.forEach((gain) => ramp(gain.gain, 0));
    clip.sources.forEach((source) => source.stop(context.currentTime + FADE));
    clip.sources = [];
    clip.gains = [];
    show(clip);
  }

  function ramp(parameter, value) {
    const now = context.currentTime;
    parameter.cancelScheduledValues(now);
    parameter.setValueAtTime(parameter.value, now);
    parameter.linearRampToValueAtTime(value, now + FADE);
  }

  function level(clip, index) {
    if (index !== clip.chosen) return 0;
    return equal ? clip.levels[index] : 1;
  }

  function toggle(clip) {
    if (clip.playing) stop(clip);
    else play(clip);
  }

  function seek(clip, seconds) {
    const target = Math.min(Math.max(0, seconds), clip.seconds);
    const playing = clip.playing;
    stop(clip);
    clip.at = target;
    if (playing) play(clip);
    show(clip);
  }

  function choose(clip, index) {
    if (!(index >= 0 && index < clip.systems.length)) return;
    clip.chosen = index;
    clip.gains.forEach((gain, other) => ramp(gain.gain, level(clip, other)));
    show(clip);
    status.textContent = `${clip.name}: ${called(clip, index)}`;
  }

  // What a sound is called: when blind, the systems have letters, in the order in which they stand.
  function called(clip, index) {
    if (!blind || index < clip.known) return clip.systems[index];
    return `sound ${String.fromCharCode(65 + clip.order.indexOf(index) - clip.known)}`;
  }

  function shuffled(clip) {
    const order = clip.systems.map((_, index) => index);
    for (let last = order.length - 1; blind && last > clip.known; last -= 1) {
      const other = clip.known + Math.floor(Math.random() * (last - clip.known + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }

  function setEqual(on) {
    equal = on;
    equalButton.setAttribute("aria-pressed", on);
    clips.forEach((clip) => clip.gains.forEach((gain, index) => ramp(gain.gain, level(clip, index))));
  }

  function setBlind(on) {
    blind = on;
    if (on) votes.clear();
    blindButton.setAttribute("aria-pressed", on);
    document.getElementById("listen").classList.toggle("blind", on);
    clips.forEach((clip) => {
      clip.order = shuffled(clip);
      clip.rows[0].parentNode.append(...clip.order.map((index) => clip.rows[index]));
      clip.names.forEach((name, index) => {
        name.textContent = called(clip, index);
        name.title = called(clip, index);
      });
      clip.order.forEach((index, place) => {
        clip.keys[index].textContent = place < 10 ? (place + 1) % 10 : "";
        clip.keys[index].classList.toggle("none", place >= 10);
      });
      choose(clip, 0);
    });
    tell();
  }

  function prefer() {
    if (!blind || !active || active.chosen < active.known) return;
    votes.set(active, active.chosen);
    show(active);
    tell();
  }

  // While blind only how many clips were judged: what was preferred is said afterwards.
  function tell() {
    const counts = new Map();
    votes.forEach((index, clip) => counts.set(clip.systems[index], (counts.get(clip.systems[index]) || 0) + 1));
    const found = [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => `${name} ${count}`);
    const judged = `${votes.size} of ${clips.length} clips judged`;
    if (blind) tally.textContent = judged;
    else tally.textContent = votes.size ? `preferred: ${found.join(", ")} (${judged})` : "";
  }

  function setLoop(clip, loop) {
    if (clip.sources.length) {
      const rounds = Math.floor(Math.max(0, context.currentTime - clip.started) / clip.seconds);
      clip.started += rounds * clip.seconds;
      clip.at = Math.min(clip.at, Math.max(0, context.currentTime - clip.started));
    }
    clip.loop = loop;
    clip.sources.forEach((source) => (source.loop = loop));
    show(clip);
  }

  function follow(clip, turn) {
    if (turn !== clip.turn) return;
    move(clip);
    requestAnimationFrame(() => follow(clip, turn));
  }

  function move(clip) {
    const now = position(clip);
    clip.playhead.style.left = `${(100 * now) / clip.seconds}%`;
    clip.clock.textContent = `${now.toFixed(1)} / ${clip.seconds.toFixed(1)} s`;
    clip.picture.setAttribute("aria-valuenow", now.toFixed(1));
    clip.picture.setAttribute("aria-valuetext", `${now.toFixed(1)} of ${clip.seconds.toFixed(1)} seconds`);
  }

  function show(clip) {
    move(clip);
    clip.playButton.textContent = clip.playing ? "❚❚ Pause" : "▶ Play";
    clip.loopButton.setAttribute("aria-pressed", clip.loop);
    clip.buttons.forEach((button, index) => button.setAttribute("aria-pressed", index === clip.chosen));
    clip.rows.forEach((row, index) => row.classList.toggle("on", index === clip.chosen));
    clip.names.forEach((name, index) => name.classList.toggle("vote", votes.get(clip) === index));
    clip.thumbs.forEach((thumb, index) => thumb.setAttribute("aria-pressed", index === clip.chosen));
    const small = clip.thumbs[clip.chosen].querySelector("img");
    if (clip.image.src !== small.src) clip.image.src = small.src;
    clip.image.alt = blind ? "" : small.alt;
    clip.label.textContent = called(clip, clip.chosen);
  }

  function activate(clip) {
    if (active === clip) return;
    active?.root.classList.remove("active");
    active = clip;
    active?.root.classList.add("active");
  }

  function go(number) {
    const from = active;
    const clip = clips[Math.min(Math.max(0, number), clips.length - 1)];
    if (clip === from) return;
    const playing = from?.playing;
    activate(clip);
    if (from) {
      const same = blind && from.chosen >= from.known ? -1 : clip.systems.indexOf(from.systems[from.chosen]);
      choose(clip, same < 0 ? (blind ? clip.order[clip.known] ?? 0 : clip.chosen) : same);
    }
    clip.root.focus({ preventScroll: true });
    clip.root.scrollIntoView({ block: "nearest" });
    if (playing) {
      clip.at = 0;
      play(clip);
    }
  }

  function setUp(root, number) {
    const one = (selector) => root.querySelector(selector);
    const all = (selector) => [...root.querySelectorAll(selector)];
    const clip = {
      root, number, name: one("h3").textContent, seconds: Number(root.dataset.seconds),
      names: all(".choices tbody .name"), systems: all(".choices tbody .name").map((name) => name.textContent),
      keys: all(".choices tbody kbd"), known: Number(root.dataset.known),
      levels: root.dataset.levels.split(" ").map(Number), order: [],
      buttons: all(".choices tbody button"), rows: all(".choices tbody tr"), thumbs: all(".strip button"),
      picture: one(".spectrogram"), image: one(".spectrogram img"), playhead: one(".playhead"), label: one(".chosen"),
      clock: one(".clock"), trouble: one(".trouble"), playButton: one(".play"), loopButton: one(".loop"),
      chosen: 0, at: 0, started: 0, turn: 0, playing: false, loop: false, buffers: null, sources: [], gains: [],
    };
    root.addEventListener("pointerdown", () => activate(clip));
    root.addEventListener("focusin", () => activate(clip));
    clip.buttons.forEach((button, index) => button.addEventListener("click", () => choose(clip, index)));
    clip.thumbs.forEach((thumb, index) => thumb.addEventListener("click", () => choose(clip, index)));
    clip.playButton.addEventListener("click", () => toggle(clip));
    clip.loopButton.addEventListener("click", () => setLoop(clip, !clip.loop));
    // After a click with the mouse the space bar is for playing, not for the button.
    root.addEventListener("click", (event) => event.detail && root.focus({ preventScroll: true }));
    const there = (event) => {
      const box = clip.picture.getBoundingClientRect();
      seek(clip, ((event.clientX - box.left) / box.width) * clip.seconds);
    };
    clip.picture.addEventListener("pointerdown", (event) => {
      clip.picture.setPointerCapture(event.pointerId);
      there(event);
    });
    clip.picture.addEventListener("pointermove", (event) => event.buttons && there(event));
    show(clip);
    return clip;
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !clips.length) return;
    const key = event.key;
    if (/^[0-9]$/.test(key)) {
      if (!active) activate(clips[0]);
      choose(active, active.order[key === "0" ? 9 : Number(key) - 1]);
    } else if (key === "j") go(active ? active.number + 1 : 0);
    else if (key === "k") go(active ? active.number - 1 : 0);
    else if (key === "e") setEqual(!equal);
    else if (key === "b") setBlind(!blind);
    else if (key === "p") prefer();
    else if (!active) return; // until a clip is active the page scrolls as any other
    else if (key === " ") {
      if (event.target.closest("button, a, summary")) return; // does what it says
      toggle(active);
    } else if (key === "ArrowDown") go(active.number + 1);
    else if (key === "ArrowUp") go(active.number - 1);
    else if (key === "ArrowRight") seek(active, position(active) + STEP);
    else if (key === "ArrowLeft") seek(active, position(active) - STEP);
    else if (key === "l") setLoop(active, !active.loop);
    else if (key === "Escape") {
      stop(active);
      activate(null);
      document.activeElement?.blur();
    } else return;
    event.preventDefault();
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.querySelector("button")?.addEventListener("click", () => {
        const first = head.dataset.first; // the order of the first click: best on top
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((cell) => cell.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const value = (row) => row.cells[column].dataset.sort;
        const known = [...body.rows].filter((row) => value(row) !== undefined);
        const unknown = [...body.rows].filter((row) => value(row) === undefined);
        known.sort((a, b) => sign * (Number(value(a)) - Number(value(b))));
        body.append(...known, ...unknown);
      });
    });
  }

  const [equalButton, blindButton, preferButton, tally] = ["equal", "blind", "prefer", "votes"].map((id) =>
    document.getElementById(id),
  );
  const clips = [...document.querySelectorAll("article.clip")].map(setUp);
  clips.forEach((clip) => (clip.order = shuffled(clip)));
  equalButton?.addEventListener("click", () => setEqual(!equal));
  blindButton?.addEventListener("click", () => setBlind(!blind));
  preferButton?.addEventListener("click", prefer);
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.addEventListener("keydown", pressed);

  // For tests and the curious.
  window.enhancePlayer = {
    get context() { return audio(); },
    get output() { return audio() && output; },
    get state() {
      const clip = active;
      return clip && {
        clip: clip.name, system: clip.systems[clip.chosen], called: called(clip, clip.chosen), equal, blind, playing: clip.playing, loop: clip.loop,
        sounding: clip.sources.length > 0, position: position(clip), seconds: clip.seconds, started: clip.started,
        gains: clip.gains.map((gain) => gain.gain.value),
      };
    },
  };
})();
