/** A short tone for each direction: up an octave for bullish, down for bearish. */

const PITCHES = { bullish: [587.33, 880], bearish: [587.33, 392] };
const NOTE_SECONDS = 0.09;
const VOLUME = 0.08;

/** Made by the first tone, which a click asked for. */
let context = null;

/** Play the tones of these directions, one behind the other. Where there is no sound nothing happens. */
export async function play(directions) {
  try {
    context ??= new AudioContext();
    // Silent until a click on the page: a tone that is kept until then would come minutes late.
    if (context.state !== "running") await Promise.race([context.resume(), new Promise((resolve) => setTimeout(resolve, 200))]);
    if (context.state !== "running") return;
    Object.keys(PITCHES).filter((direction) => directions.has(direction)).flatMap((direction) => PITCHES[direction])
      .forEach((pitch, number) => note(pitch, context.currentTime + number * NOTE_SECONDS));
  } catch {
    context = null;
  }
}

/** Swells and fades: a bare sine clicks. */
function note(pitch, at) {
  const [tone, loudness] = [context.createOscillator(), context.createGain()];
  tone.frequency.value = pitch;
  loudness.gain.setValueAtTime(0, at);
  loudness.gain.linearRampToValueAtTime(VOLUME, at + 0.01);
  loudness.gain.linearRampToValueAtTime(0, at + NOTE_SECONDS);
  tone.connect(loudness).connect(context.destination);
  tone.start(at);
  tone.stop(at + NOTE_SECONDS);
}
