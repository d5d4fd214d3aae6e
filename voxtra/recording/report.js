"use strict";
(() => {
  const audio = document.querySelector("audio");
  const axis = document.querySelector(".axis");
  const scroll = document.querySelector(".scroll");
  const cursor = document.querySelector(".cursor");
  const length = Number(axis.dataset.length);
  const turns = [...document.querySelectorAll(".turns li")];
  if (!audio) {
    cursor.hidden = true;
    return;
  }
  const show = () => {
    const ms = audio.currentTime * 1000;
    cursor.style.left = `${Math.min(100, ms / length * 100)}%`;
    for (const turn of turns) {
      const now = ms >= Number(turn.dataset.start) && ms < Number(turn.dataset.end);
      turn.classList.toggle("now", now);
    }
    const x = ms / length * axis.offsetWidth;
    if (!audio.paused && (x < scroll.scrollLeft || x > scroll.scrollLeft + scroll.clientWidth * 0.9)) {
      scroll.scrollLeft = x - scroll.clientWidth * 0.1;
    }
  };
  const follow = () => {
    show();
    if (!audio.paused) requestAnimationFrame(follow);
  };
  const go = (ms, play) => {
    audio.currentTime = ms / 1000;
    if (play) audio.play().catch(() => {});
    show();
  };
  audio.addEventListener("play", follow);
  audio.addEventListener("seeked", show);
  axis.addEventListener("click", (event) => {
    const box = axis.getBoundingClientRect();
    go((event.clientX - box.left) / box.width * length, false);
  });
  for (const row of document.querySelectorAll("li[data-start]")) {
    const play = () => go(Number(row.dataset.start), true);
    row.querySelector("button").addEventListener("click", play);
    row.querySelector("p")?.addEventListener("click", play);
  }
})();
