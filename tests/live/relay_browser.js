// An echo in a browser, by another implementation of MoQ (@moq/net): what the caller says goes back to them.
import * as Moq from "@moq/net";

const asked = new URL(location.href).searchParams;
const tell = (words) => fetch(`/told?${new URLSearchParams(words)}`);

async function main() {
  const [url, sid, hash] = [asked.get("url"), asked.get("sid"), asked.get("hash")];
  const connection = await Moq.Connection.connect(new URL(url), {
    websocket: { enabled: false },
    webtransport: { serverCertificateHashes: [{ value: hash }] },
  });
  const spoken = new Moq.Broadcast.Producer();
  const audio = spoken.createTrack("audio", { latencyMax: 60_000 });
  connection.publish(`voice/${sid}/downlink`, spoken);
  const heard = connection.consume(`voice/${sid}/uplink`);
  const info = await (await heard.track("info").subscribe().nextGroup()).readString();
  await tell({ what: "info", info, version: connection.version });
  const track = heard.track("audio").subscribe({ latencyMax: 500 });
  let [frames, group] = [0, undefined];
  for (;;) {
    const incoming = await track.nextGroup();
    if (!incoming) break;
    for (;;) {
      const frame = await incoming.readFrame();
      if (!frame) break;
      if (frames % 50 === 0) {
        group?.close();
        group = audio.appendGroup();
      }
      frames += 1;
      group.writeFrame({ payload: frame.payload, timestamp: frame.timestamp });
    }
  }
  await tell({ what: "end", frames });
}

main().catch((error) => tell({ what: "error", error: String(error) }));
