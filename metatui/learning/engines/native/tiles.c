/* Winograd's transforms of images, F(4x4, 3x3) (Lavin and Gray 2016, section 4.3), for channels-last images.

An image [H, W, C] is cut into tiles of 4x4 pixels, the last ones padded with zeros. Each tile is transformed to 6x6
numbers per channel; those of all tiles are 36 matrices [tiles, C]. Two-dimensional transforms are one-dimensional ones
of each column and then of each row. REAL is float or double.
*/

#include <string.h>

typedef long long integer;

/* Bt d: maps six numbers to six, for n channels. Successive numbers are `step` apart in `in` and `ahead` in `out`. */
static void input_line(const REAL *restrict in, integer step, REAL *restrict out, integer ahead, integer n)
{
#pragma GCC ivdep
    for (integer c = 0; c < n; c++) {
        const REAL *d = in + c;
        REAL *v = out + c;
        REAL d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
        REAL even = d4 - 4 * d2, odd = d3 - 4 * d1, apart = d4 - d2, twice = 2 * (d3 - d1);
        v[0] = 4 * (d0 - d2) + apart;
        v[ahead] = even + odd;
        v[2 * ahead] = even - odd;
        v[3 * ahead] = apart + twice;
        v[4 * ahead] = apart - twice;
        v[5 * ahead] = 4 * (d1 - d3) + (d5 - d3);
    }
}

/* B v: the transpose of Bt d. */
static void input_line_back(const REAL *restrict in, integer step, REAL *restrict out, integer ahead, integer n)
{
#pragma GCC ivdep
    for (integer c = 0; c < n; c++) {
        const REAL *v = in + c;
        REAL *d = out + c;
        REAL v0 = v[0], v5 = v[5 * step];
        REAL sum = v[step] + v[2 * step], difference = v[step] - v[2 * step];
        REAL sum2 = v[3 * step] + v[4 * step], difference2 = 2 * (v[3 * step] - v[4 * step]);
        d[0] = 4 * v0;
        d[ahead] = 4 * (v5 - difference) - difference2;
        d[2 * ahead] = -5 * v0 - 4 * sum - sum2;
        d[3 * ahead] = difference + difference2 - 5 * v5;
        d[4 * ahead] = v0 + sum + sum2;
        d[5 * ahead] = v5;
    }
}

/* At m: six numbers to four. */
static void output_line(const REAL *restrict in, integer step, REAL *restrict out, integer ahead, integer n)
{
#pragma GCC ivdep
    for (integer c = 0; c < n; c++) {
        const REAL *m = in + c;
        REAL *y = out + c;
        REAL m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step];
        REAL sum = m1 + m2, difference = m1 - m2, sum2 = m3 + m4, difference2 = m3 - m4;
        y[0] = m[0] + sum + sum2;
        y[ahead] = difference + 2 * difference2;
        y[2 * ahead] = sum + 4 * sum2;
        y[3 * ahead] = difference + 8 * difference2 + m[5 * step];
    }
}

/* A y: the transpose of At m. */
static void output_line_back(const REAL *restrict in, integer step, REAL *restrict out, integer ahead, integer n)
{
#pragma GCC ivdep
    for (integer c = 0; c < n; c++) {
        const REAL *g = in + c;
        REAL *m = out + c;
        REAL g0 = g[0], g1 = g[step], g2 = g[2 * step], g3 = g[3 * step];
        REAL even = g0 + g2, odd = g1 + g3, even2 = g0 + 4 * g2, odd2 = 2 * g1 + 8 * g3;
        m[0] = g0;
        m[ahead] = even + odd;
        m[2 * ahead] = even - odd;
        m[3 * ahead] = even2 + odd2;
        m[4 * ahead] = even2 - odd2;
        m[5 * ahead] = g3;
    }
}

/* Copies `side` x `side` pixels that begin at (row, column); pixels outside of the image are zero. */
static void cut_out(const REAL *image, REAL *tile, integer row, integer column, integer side, integer height,
                    integer width, integer channels)
{
    integer left = column < 0 ? -column : 0;
    integer right = column + side > width ? width - column : side;
    for (integer i = 0; i < side; i++, tile += side * channels) {
        integer y = row + i;
        if (y < 0 || y >= height) {
            memset(tile, 0, side * channels * sizeof(REAL));
            continue;
        }
        memset(tile, 0, left * channels * sizeof(REAL));
        memcpy(tile + left * channels, image + (y * width + column + left) * channels,
               (right - left) * channels * sizeof(REAL));
        memset(tile + right * channels, 0, (side - right) * channels * sizeof(REAL));
    }
}

/* Images [count, height, width, channels] to V [36, tiles, channels]; each tile's 6x6 pixels overlap the next's. */
void input_tiles(const REAL *images, REAL *v, REAL *scratch, integer count, integer height, integer width,
                 integer channels)
{
    integer down = (height + 3) / 4, across = (width + 3) / 4, matrix = count * down * across * channels;
    REAL *tile = scratch, *half = scratch + 36 * channels;
    for (integer b = 0; b < count; b++, images += height * width * channels)
        for (integer i = 0; i < down; i++)
            for (integer j = 0; j < across; j++, v += channels) {
                cut_out(images, tile, 4 * i - 1, 4 * j - 1, 6, height, width, channels);
                for (integer column = 0; column < 6; column++)
                    input_line(tile + column * channels, 6 * channels, half + column * channels, 6 * channels,
                               channels);
                for (integer row = 0; row < 6; row++)
                    input_line(half + 6 * row * channels, channels, v + 6 * row * matrix, matrix, channels);
            }
}

/* The transpose of the function above: [36, tiles, channels] to images; gradients of overlapping tiles are added. */
void input_tiles_back(const REAL *v, REAL *images, REAL *scratch, integer count, integer height, integer width,
                      integer channels)
{
    integer down = (height + 3) / 4, across = (width + 3) / 4, matrix = count * down * across * channels;
    REAL *half = scratch, *line = scratch + 36 * channels;
    for (integer b = 0; b < count; b++, images += height * width * channels) {
        memset(images, 0, height * width * channels * sizeof(REAL));
        for (integer i = 0; i < down; i++)
            for (integer j = 0; j < across; j++, v += channels) {
                for (integer column = 0; column < 6; column++)
                    input_line_back(v + column * matrix, 6 * matrix, half + column * channels, 6 * channels, channels);
                integer left = j == 0, right = 4 * j + 5 > width ? width - 4 * j + 1 : 6;
                for (integer row = 0; row < 6; row++) {
                    integer y = 4 * i - 1 + row;
                    if (y < 0 || y >= height)
                        continue;
                    input_line_back(half + 6 * row * channels, channels, line, channels, channels);
                    REAL *into = images + (y * width + 4 * j - 1 + left) * channels;
                    const REAL *from = line + left * channels;
#pragma GCC ivdep
                    for (integer c = 0; c < (right - left) * channels; c++)
                        into[c] += from[c];
                }
            }
    }
}

/* M [36, tiles, channels] to images [count, height, width, channels]. */
void output_tiles(const REAL *m, REAL *images, REAL *scratch, integer count, integer height, integer width,
                  integer channels)
{
    integer down = (height + 3) / 4, across = (width + 3) / 4, matrix = count * down * across * channels;
    REAL *half = scratch, *tile = scratch + 36 * channels;
    for (integer b = 0; b < count; b++, images += height * width * channels)
        for (integer i = 0; i < down; i++)
            for (integer j = 0; j < across; j++, m += channels) {
                for (integer column = 0; column < 6; column++)
                    output_line(m + column * matrix, 6 * matrix, half + column * channels, 6 * channels, channels);
                integer rows = height - 4 * i < 4 ? height - 4 * i : 4;
                integer columns = width - 4 * j < 4 ? width - 4 * j : 4;
                for (integer row = 0; row < rows; row++) {
                    output_line(half + 6 * row * channels, channels, tile, channels, channels);
                    memcpy(images + ((4 * i + row) * width + 4 * j) * channels, tile,
                           columns * channels * sizeof(REAL));
                }
            }
}

/* The transpose of the function above: images to [36, tiles, channels]. */
void output_tiles_back(const REAL *images, REAL *m, REAL *scratch, integer count, integer height, integer width,
                    integer channels)
{
    integer down = (height + 3) / 4, across = (width + 3) / 4, matrix = count * down * across * channels;
    REAL *tile = scratch, *half = scratch + 36 * channels;
    for (integer b = 0; b < count; b++, images += height * width * channels)
        for (integer i = 0; i < down; i++)
            for (integer j = 0; j < across; j++, m += channels) {
                cut_out(images, tile, 4 * i, 4 * j, 4, height, width, channels);
                for (integer column = 0; column < 4; column++)
                    output_line_back(tile + column * channels, 4 * channels, half + column * channels, 4 * channels,
                                  channels);
                for (integer row = 0; row < 6; row++)
                    output_line_back(half + 4 * row * channels, channels, m + 6 * row * matrix, matrix, channels);
            }
}
