/** Draws gaps over the whole height of the chart: a hatched band between the two points, or over the one, and what was lost in words. */

const LEAST_WIDTH = 8;
const HATCH = 6;
const LABEL_HEIGHT = 18;
const PADDING = 6;

/** A pane primitive of lightweight-charts. */
export class GapBands {
  #chart = null;
  /** Have all of the chart drawn anew. */
  update = () => {};
  #bands = [];
  #colours = {};
  #font = "12px sans-serif";
  #views = [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => target.useMediaCoordinateSpace((scope) => this.#draw(scope)) }) }];

  attached({ chart, requestUpdate }) {
    this.#chart = chart;
    this.update = requestUpdate;
  }

  paneViews() {
    return this.#views;
  }

  /** Draw these bands, `{from, to, text}` with indices of points. */
  show(bands) {
    this.#bands = bands;
    this.update();
  }

  /** Colours `{panel, hatch, quiet}` and the font's family. */
  paint(colours, family) {
    this.#colours = colours;
    this.#font = `12px ${family}`;
    this.update();
  }

  #draw({ context, mediaSize }) {
    let free = -Infinity;
    for (const { from, to, text } of this.#bands) {
      const scale = this.#chart.timeScale();
      const least = from === to ? scale.options().barSpacing : 0;
      const [left, right] = spread(scale.logicalToCoordinate(from), scale.logicalToCoordinate(to), Math.max(LEAST_WIDTH, least));
      if (right < 0 || left > mediaSize.width) continue;
      this.#hatch(context, left, right, mediaSize.height);
      free = this.#label(context, text, (left + right) / 2, mediaSize.width, free);
    }
  }

  #hatch(context, left, right, height) {
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, height);
    context.clip();
    context.globalAlpha = 0.5;
    context.strokeStyle = this.#colours.hatch;
    context.beginPath();
    for (let x = left - height; x < right; x += HATCH) {
      context.moveTo(x, height);
      context.lineTo(x + height, 0);
    }
    context.moveTo(left, 0);
    context.lineTo(left, height);
    context.moveTo(right, 0);
    context.lineTo(right, height);
    context.stroke();
    context.restore();
  }

  /** Beside the band if there is no room above it; left out where it would cover another. Returns where the next may begin. */
  #label(context, text, middle, width, free) {
    context.font = this.#font;
    const wide = context.measureText(text).width + 2 * PADDING;
    const left = Math.max(0, Math.min(width - wide, middle - wide / 2));
    if (left < free) return free;
    context.fillStyle = this.#colours.panel;
    context.fillRect(left, 2, wide, LABEL_HEIGHT);
    context.fillStyle = this.#colours.quiet;
    context.textBaseline = "middle";
    context.fillText(text, left + PADDING, 2 + LABEL_HEIGHT / 2);
    return left + wide;
  }
}

function spread(left, right, least) {
  const missing = Math.max(0, least - (right - left)) / 2;
  return [left - missing, right + missing];
}
