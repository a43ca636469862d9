/* Fused batch norm, 2x2 max-pooling and ReLU: three passes over the images forward, two backward.

Images are [count, height, width, channels], outputs [count, height / 2, width / 2, channels]; channels are a multiple
of LANES. REAL is float or double. Each image is summed in REAL, and all images in double precision.
*/

#include <math.h>

#include "vectors.h"

static void add_up(const REAL *part, double *sums, integer channels)
{
    for (integer c = 0; c < channels; c++)
        sums[c] += part[c];
}

/* Forward pass; batch norm uses the statistics of the images. */
void pooled_norm(const REAL *images, const REAL *gamma, const REAL *beta, const double *epsilon, REAL *out, REAL *mean,
                 REAL *inverse, REAL *scale, REAL *shift, REAL *part, double *sums, integer count, integer height,
                 integer width, integer channels)
{
    integer pixels = height * width, row = width * channels;
    for (int second = 0; second < 2; second++) {
        memset(sums, 0, channels * sizeof(double));
        for (integer b = 0; b < count; b++) {
            memset(part, 0, channels * sizeof(REAL));
            for (const REAL *y = images + b * pixels * channels; y < images + (b + 1) * pixels * channels; y += channels)
                for (integer c = 0; c < channels; c += LANES) {
                    lanes value = second ? at(y + c) - at(mean + c) : at(y + c);
                    put(part + c, at(part + c) + (second ? value * value : value));
                }
            add_up(part, sums, channels);
        }
        for (integer c = 0; c < channels; c++) {
            double average = sums[c] / (double)(count * pixels);
            if (!second) {
                mean[c] = average;
                continue;
            }
            inverse[c] = 1 / sqrt(average + *epsilon);
            scale[c] = gamma[c] * inverse[c];
            shift[c] = beta[c] - scale[c] * mean[c];
        }
    }
    for (integer b = 0; b < count; b++)
        for (integer i = 0; i < height / 2; i++)
            for (integer j = 0; j < width / 2; j++, out += channels) {
                const REAL *y = images + b * pixels * channels + 2 * i * row + 2 * j * channels;
                for (integer c = 0; c < channels; c += LANES, y += LANES) {
                    lanes a = at(scale + c), s = at(shift + c);
                    lanes four[4] = {a * at(y) + s, a * at(y + channels) + s, a * at(y + row) + s,
                                     a * at(y + row + channels) + s};
                    put(out + c, pooled(four));
                }
            }
}

/* Gradients of images, gamma and beta from the gradient of the output: equation (1) of batch_norm.py, where g is zero
   except at the maxima. */
void pooled_norm_back(const REAL *images, const REAL *gradients, const REAL *mean, const REAL *inverse,
                      const REAL *scale, const REAL *shift, REAL *of_images, REAL *of_gamma, REAL *of_beta, REAL *part,
                      double *sums, integer count, integer height, integer width, integer channels)
{
    integer pixels = height * width, row = width * channels;
    memset(of_images, 0, count * pixels * channels * sizeof(REAL));
    memset(sums, 0, 2 * channels * sizeof(double));
    for (integer b = 0; b < count; b++) {
        memset(part, 0, 2 * channels * sizeof(REAL));
        for (integer i = 0; i < height / 2; i++)
            for (integer j = 0; j < width / 2; j++, gradients += channels) {
                integer first = b * pixels * channels + 2 * i * row + 2 * j * channels;
                for (integer c = 0; c < channels; c += LANES) {
                    const REAL *y = images + first + c;
                    lanes a = at(scale + c), s = at(shift + c), g[4];
                    lanes x[4] = {at(y), at(y + channels), at(y + row), at(y + row + channels)};
                    lanes four[4] = {a * x[0] + s, a * x[1] + s, a * x[2] + s, a * x[3] + s};
                    pooled_back(four, at(gradients + c), g);
                    put(part + c, at(part + c) + ((g[0] + g[1]) + (g[2] + g[3])));
                    put(part + channels + c, at(part + channels + c) + (g[0] * x[0] + g[1] * x[1]) +
                                                 (g[2] * x[2] + g[3] * x[3]));
                    REAL *into = of_images + first + c;
                    put(into, g[0]), put(into + channels, g[1]), put(into + row, g[2]);
                    put(into + row + channels, g[3]);
                }
            }
        add_up(part, sums, 2 * channels);
    }
    REAL *of_y = part, *constant = part + channels;
    double numbers = count * pixels;
    for (integer c = 0; c < channels; c++) {
        double beta = sums[c], gamma = inverse[c] * (sums[channels + c] - mean[c] * beta);
        of_beta[c] = beta;
        of_gamma[c] = gamma;
        of_y[c] = -scale[c] * inverse[c] * gamma / numbers;
        constant[c] = -scale[c] * beta / numbers - of_y[c] * mean[c];
    }
    for (integer k = 0; k < count * pixels * channels; k += channels)
        for (integer c = 0; c < channels; c += LANES)
            put(of_images + k + c, at(scale + c) * at(of_images + k + c) +
                                       (at(of_y + c) * at(images + k + c) + at(constant + c)));
}
