// Slices as pictures, and what lies over them.

const OUTSIDE = [44, 58, 71];
const DIVERGING = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]];

function rgba(red, green, blue, alpha) {
  return (alpha << 24) | (blue << 16) | (green << 8) | red; // the bytes of a pixel on any machine that runs browsers
}

// Colour of a share from -1 to 1.
function divergingColour(share, alpha) {
  const place = 2 * Math.max(-1, Math.min(1, share)) + 2, low = Math.min(3, Math.floor(place)), rest = place - low;
  const [red, green, blue] = DIVERGING[low].map((v, c) => Math.round(v + rest * (DIVERGING[low + 1][c] - v)));
  return rgba(red, green, blue, alpha);
}

// Pixel values of the 256 codes of an image, and of the 511 differences of two codes.
function greyTable(brightness, contrast) {
  const table = new Uint32Array(256);
  for (let code = 1; code < 256; code++) {
    const share = ((code - 1) / 254 + brightness - 0.5) * contrast + 0.5;
    const grey = Math.round(255 * Math.max(0, Math.min(1, share)));
    table[code] = rgba(grey, grey, grey, 255);
  }
  table[0] = rgba(...OUTSIDE, 255);
  return table;
}

function differenceTable(contrast) {
  return Uint32Array.from({ length: 511 }, (_, i) => divergingColour(((i - 255) / 254) * contrast, 255));
}

function jacobianTable() {
  return Uint32Array.from({ length: 256 }, (_, code) => (code ? divergingColour((code - 128) / 127, 255) : 0));
}

// A canvas of one pixel a voxel.
function newLayer() {
  const canvas = document.createElement("canvas");
  return { canvas, context: canvas.getContext("2d") };
}

function paint(layer, slice, pixelOf) {
  const { columns, rows, start, perColumn, perRow } = slice;
  layer.canvas.width = columns;
  layer.canvas.height = rows;
  const picture = layer.context.createImageData(columns, rows), pixels = new Uint32Array(picture.data.buffer);
  for (let row = 0, pixel = 0; row < rows; row++) {
    let index = start + row * perRow;
    for (let column = 0; column < columns; column++, index += perColumn) pixels[pixel++] = pixelOf(index);
  }
  layer.context.putImageData(picture, 0, 0);
}

// Lines along the edges of voxels between unequal labels, one path a colour.
function outlinePaths(slice, labels, width, height) {
  const { columns, rows, start, perColumn, perRow } = slice, paths = new Map();
  const dx = width / columns, dy = height / rows;
  const line = (code, x0, y0, x1, y1) => {
    if (!paths.has(code)) paths.set(code, new Path2D());
    paths.get(code).moveTo(x0 * dx, y0 * dy);
    paths.get(code).lineTo(x1 * dx, y1 * dy);
  };
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const index = start + row * perRow + column * perColumn, here = labels[index];
      const right = column + 1 < columns ? labels[index + perColumn] : here;
      const below = row + 1 < rows ? labels[index + perRow] : here;
      if (right !== here) line(Math.max(right, here), column + 1, row, column + 1, row + 1);
      if (below !== here) line(Math.max(below, here), column, row + 1, column + 1, row + 1);
    }
  }
  return paths;
}

// The straight grid of the moving image as it lies in a slice: contours of where the transform leads.
function gridPath(plane, slice, data, codes, step, width, height) {
  const { field, shape } = data, path = new Path2D();
  // The voxels of the nodes along an axis, and the faces half a voxel beyond the first and the last.
  const nodes = (axis) => {
    const count = field.shape[axis], last = shape[axis] - 1;
    return [-0.5, ...Array.from({ length: count }, (_, i) => (count > 1 ? (i * last) / (count - 1) : 0)), last + 0.5];
  };
  const columns = nodes(plane.across), rows = nodes(plane.up), across = columns.length, up = rows.length;
  const xs = columns.map((v) => shape[plane.across] - 0.5 - v), ys = rows.map((v) => shape[plane.up] - 0.5 - v);
  const dx = width / shape[plane.across], dy = height / shape[plane.up];
  for (const component of [plane.across, plane.up]) {
    const values = new Float64Array(across * up), voxel = [0, 0, 0];
    voxel[plane.axis] = slice;
    for (let j = 0; j < up; j++) {
      for (let i = 0; i < across; i++) {
        voxel[plane.across] = columns[i];
        voxel[plane.up] = rows[j];
        values[j * across + i] = reached(field, codes, shape, voxel, component);
      }
    }
    for (let j = 0; j + 1 < up; j++) {
      for (let i = 0; i + 1 < across; i++) {
        const corners = [j * across + i, j * across + i + 1, (j + 1) * across + i + 1, (j + 1) * across + i];
        const v = corners.map((c) => values[c]);
        const x = [xs[i], xs[i + 1], xs[i + 1], xs[i]], y = [ys[j], ys[j], ys[j + 1], ys[j + 1]];
        for (let level = Math.ceil(Math.min(...v) / step); level * step < Math.max(...v); level++) {
          crossings(v, x, y, level * step).forEach(([px, py], n) => {
            if (n % 2) path.lineTo(px * dx, py * dy);
            else path.moveTo(px * dx, py * dy);
          });
        }
      }
    }
  }
  return path;
}

// Where a level crosses the four edges of a cell, two points a line.
function crossings(v, x, y, level) {
  const points = [];
  for (let a = 0; a < 4; a++) {
    const b = (a + 1) % 4;
    if (v[a] < level === v[b] < level) continue;
    const share = (level - v[a]) / (v[b] - v[a]);
    points.push([x[a] + share * (x[b] - x[a]), y[a] + share * (y[b] - y[a])]);
  }
  return points;
}
