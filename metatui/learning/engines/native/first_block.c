/* A 3x3 convolution of few channels, a shift of each filter, 2x2 max-pooling and ReLU in one pass.

The output of the convolution is four times as large as the result, and computing it takes less time than writing it to
memory and reading it back. So it is never stored, and the backward pass computes it again.

Images are [count, height, width, channels], kernels [3, 3, channels, filters], outputs
[count, height / 2, width / 2, filters]; filters are a multiple of LANES. REAL is float or double.
*/

#include "vectors.h"

/* The 4x4 pixels that the four outputs of a pooling window depend on; zeros around the image. */
static void cut_out(const REAL *image, REAL *patch, integer row, integer column, integer height, integer width,
                    integer channels)
{
    for (integer i = 0; i < 4; i++)
        for (integer j = 0; j < 4; j++, patch += channels) {
            integer y = 2 * row - 1 + i, x = 2 * column - 1 + j;
            if (y < 0 || y >= height || x < 0 || x >= width)
                memset(patch, 0, channels * sizeof(REAL));
            else
                memcpy(patch, image + (y * width + x) * channels, channels * sizeof(REAL));
        }
}

/* The four outputs of the convolution in a pooling window, row by row, for LANES filters. */
static inline void convolve(const REAL *patch, const REAL *kernel, const REAL *shift, lanes out[4], integer channels,
                            integer filters)
{
    lanes a, b, c, d;
    a = b = c = d = at(shift);
    for (integer i = 0; i < 3; i++, patch += channels)
        for (integer j = 0; j < 3 * channels; j++, patch++, kernel += filters) {
            lanes k = at(kernel);
            a += k * patch[0];
            b += k * patch[channels];
            c += k * patch[4 * channels];
            d += k * patch[5 * channels];
        }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

void first_block(const REAL *images, const REAL *kernel, const REAL *shift, REAL *out, REAL *scratch, integer count,
                 integer height, integer width, integer channels, integer filters)
{
    for (integer b = 0; b < count; b++, images += height * width * channels)
        for (integer i = 0; i < height / 2; i++)
            for (integer j = 0; j < width / 2; j++, out += filters) {
                cut_out(images, scratch, i, j, height, width, channels);
                for (integer f = 0; f < filters; f += LANES) {
                    lanes y[4];
                    convolve(scratch, kernel + f, shift + f, y, channels, filters);
                    put(out + f, pooled(y));
                }
            }
}

/* Gradients of the kernel and of the shift from the gradient of the output. */
void first_block_back(const REAL *images, const REAL *kernel, const REAL *shift, const REAL *gradients,
                      REAL *of_kernel, REAL *of_shift, REAL *scratch, integer count, integer height, integer width,
                      integer channels, integer filters)
{
    integer numbers = 9 * channels * filters;
    REAL *patch = scratch, *kernels = patch + 16 * channels, *shifts = kernels + numbers;
    memset(of_kernel, 0, numbers * sizeof(REAL));
    memset(of_shift, 0, filters * sizeof(REAL));
    for (integer b = 0; b < count; b++, images += height * width * channels) {
        memset(kernels, 0, (numbers + filters) * sizeof(REAL)); /* sum each image separately: shorter sums are more exact */
        for (integer i = 0; i < height / 2; i++)
            for (integer j = 0; j < width / 2; j++, gradients += filters) {
                cut_out(images, patch, i, j, height, width, channels);
                for (integer f = 0; f < filters; f += LANES) {
                    lanes y[4], g[4];
                    convolve(patch, kernel + f, shift + f, y, channels, filters);
                    pooled_back(y, at(gradients + f), g);
                    put(shifts + f, at(shifts + f) + ((g[0] + g[1]) + (g[2] + g[3])));
                    const REAL *x = patch;
                    REAL *into = kernels + f;
                    for (integer row = 0; row < 3; row++, x += channels)
                        for (integer tap = 0; tap < 3 * channels; tap++, x++, into += filters)
                            put(into, at(into) + (g[0] * x[0] + g[1] * x[channels]) +
                                          (g[2] * x[4 * channels] + g[3] * x[5 * channels]));
                }
            }
        for (integer k = 0; k < numbers; k++)
            of_kernel[k] += kernels[k];
        for (integer f = 0; f < filters; f++)
            of_shift[f] += shifts[f];
    }
}

/* Second moments of the 3x3 pixels around each pixel and a constant 1: sums of their products in double precision,
   [9 channels + 1, 9 channels + 1], of which the upper triangle is written. */
void second_moments(const REAL *images, double *moments, double *scratch, integer count, integer height, integer width,
                    integer channels)
{
    typedef double wide __attribute__((vector_size(64), aligned(8)));
    integer taps = 9 * channels, across = (width + 7) / 8;
    wide *line = (wide *)scratch, *sums = line + (taps + 1) * across;
    memset(line, 0, (taps + 1) * across * sizeof(wide));
    memset(sums, 0, (taps + 1) * (taps + 1) * sizeof(wide));
    for (integer x = 0; x < width; x++)
        ((double *)(line + taps * across))[x] = 1;
    for (integer row = 0; row < count * height; row++) {
        integer y = row % height;
        for (integer tap = 0; tap < taps; tap++) {
            integer down = tap / (3 * channels) - 1, right = tap / channels % 3 - 1, channel = tap % channels;
            double *into = (double *)(line + tap * across);
            int inside = y + down >= 0 && y + down < height;
            for (integer x = 0; x < width; x++)
                into[x] = inside && x + right >= 0 && x + right < width
                              ? images[((row + down) * width + x + right) * channels + channel]
                              : 0;
        }
        for (integer a = 0; a <= taps; a++)
            for (integer b = a; b <= taps; b++)
                for (integer x = 0; x < across; x++)
                    sums[a * (taps + 1) + b] += line[a * across + x] * line[b * across + x];
    }
    for (integer k = 0; k < (taps + 1) * (taps + 1); k++) {
        moments[k] = 0;
        for (integer lane = 0; lane < 8; lane++)
            moments[k] += sums[k][lane];
    }
}
