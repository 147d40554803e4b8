// Volumes from PNG mosaics. Voxel (x, y, z), along R, A, S, has the index channels * (x + nx * (y + ny * z)).

async function readMosaic(name, shape, entry, channels) {
  const image = document.getElementById("mosaic-" + name);
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const [nx, ny, nz] = shape;
  const voxels = new Uint8Array(nx * ny * nz * channels);
  let index = 0, sum = 0;
  for (let z = 0; z < nz; z++) {
    const left = (z % entry.columns) * nx, top = Math.floor(z / entry.columns) * ny;
    for (let y = 0; y < ny; y++) {
      let pixel = 4 * ((top + y) * canvas.width + left);
      for (let x = 0; x < nx; x++, pixel += 4) {
        for (let channel = 0; channel < channels; channel++) {
          sum += voxels[index++] = pixels[pixel + channel];
        }
      }
    }
  }
  return { voxels, unaltered: sum === entry.checksum };
}

async function readVolumes(data) {
  const volumes = {};
  let unaltered = true;
  for (const [name, entry] of Object.entries(data.mosaics)) {
    const isField = name === "field";
    const read = await readMosaic(name, isField ? data.field.shape : data.shape, entry, isField ? 3 : 1);
    volumes[name] = read.voxels;
    unaltered = unaltered && read.unaltered;
  }
  return { volumes, unaltered };
}

// Which voxels a slice shows. Columns run from the patient's right (sagittal: front) on, rows from the top
// (axial: front) down, so that every axis is shown from its high end.
const PLANES = {
  axial: { axis: 2, across: 0, up: 1, letters: "RLAP", positive: "S", negative: "I" },
  coronal: { axis: 1, across: 0, up: 2, letters: "RLSI", positive: "A", negative: "P" },
  sagittal: { axis: 0, across: 1, up: 2, letters: "APSI", positive: "R", negative: "L" },
};

function sliceOf(plane, shape, slice) {
  const strides = [1, shape[0], shape[0] * shape[1]];
  const columns = shape[plane.across], rows = shape[plane.up];
  return {
    columns,
    rows,
    start: slice * strides[plane.axis] + (columns - 1) * strides[plane.across] + (rows - 1) * strides[plane.up],
    perColumn: -strides[plane.across],
    perRow: -strides[plane.up],
  };
}

// The middle voxel of what is labelled, of the volume where there are no labels.
function middleOf(labels, shape) {
  const sums = [0, 0, 0];
  let count = 0, index = 0;
  for (let z = 0; labels && z < shape[2]; z++) {
    for (let y = 0; y < shape[1]; y++) {
      for (let x = 0; x < shape[0]; x++) {
        if (!labels[index++]) continue;
        count++;
        [x, y, z].forEach((place, d) => { sums[d] += place; });
      }
    }
  }
  return shape.map((n, d) => (count ? Math.round(sums[d] / count) : Math.floor(n / 2)));
}

// The transform at a voxel: where it leads, in mm along the fixed image's own axes R, A, S.
function reached(field, codes, shape, voxel, axis) {
  const places = voxel.map((v, d) => {
    const share = shape[d] > 1 ? v / (shape[d] - 1) : 0;
    return Math.max(0, Math.min(1, share)) * (field.shape[d] - 1);
  });
  const low = places.map((p, d) => Math.max(0, Math.min(Math.floor(p), field.shape[d] - 2)));
  let rest = 0;
  for (let corner = 0; corner < 8; corner++) {
    let weight = 1, index = 0;
    for (let d = 2; d >= 0; d--) {
      const high = (corner >> d) & 1, share = places[d] - low[d];
      weight *= high ? share : 1 - share;
      index = index * field.shape[d] + Math.min(low[d] + high, field.shape[d] - 1);
    }
    if (weight) rest += weight * (codes[3 * index + axis] - 128);
  }
  const row = field.matrix[axis];
  return row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3] + (rest * field.scale) / 127;
}
