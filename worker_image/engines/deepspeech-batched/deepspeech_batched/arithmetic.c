/* What stands around the layers' products: quantising, biases, limits, the LSTM's gates and softmax, with the arithmetic
of libdeepspeech's runtimes.

Each product and each sum of floats is rounded, so no two of them may be fused to one instruction. The loops are simple
enough for the compiler to take several numbers at once, which does not change a result. Each row is computed on its
own, so its result does not depend on the other rows. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

#define TERMS(coefficients) (int)(sizeof(coefficients) / sizeof(float))

/* Eigen's approximations: the coefficients of numerator and denominator, the highest power first.
https://gitlab.com/libeigen/eigen/-/blob/386d809b/Eigen/src/Core/functors/UnaryFunctors.h (logistic)
https://gitlab.com/libeigen/eigen/-/blob/386d809b/Eigen/src/Core/MathFunctionsImpl.h (tanh)
https://gitlab.com/libeigen/eigen/-/blob/386d809b/Eigen/src/Core/arch/Default/GenericPacketMathFunctions.h (exp) */
static const float LOGISTIC_LIMIT = 16.619047164916992188f;
static const float LOGISTIC_IS_EXP_BELOW = -9.0f; /* The quotient loses digits there. */
static const float LOGISTIC_ABOVE[] = {4.37031012579801e-11f, 1.15627324459942e-07f, 6.08574864600143e-05f,
                                       8.51377133304701e-03f, 2.48287947061529e-01f};
static const float LOGISTIC_BELOW[] = {6.10247389755681e-13f, 5.76102136993427e-09f, 6.29106785017040e-06f,
                                       1.70198817374094e-03f, 1.16817656904453e-01f, 9.93151921023180e-01f};

static const float TANH_LIMIT = 7.90531110763549805f;
static const float TANH_IS_X_BELOW = 0.0004f;
static const float TANH_ABOVE[] = {-2.76076847742355e-16f, 2.00018790482477e-13f, -8.60467152213735e-11f,
                                   5.12229709037114e-08f,  1.48572235717979e-05f, 6.37261928875436e-04f,
                                   4.89352455891786e-03f};
static const float TANH_BELOW[] = {1.19825839466702e-06f, 1.18534705686654e-04f, 2.26843463243900e-03f,
                                   4.89352518554385e-03f};

static const float LEAST_EXPONENT = -87.0f; /* e to this power is still a normal number. */
static const float LOG2_OF_E = 1.44269504088896341f;
static const float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f; /* Their sum is ln 2. */
static const float EXP[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                            4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};

static const float LARGEST = 127.0f; /* A quantised number is in -LARGEST to LARGEST. */
static const float LEAST_SPAN = 1e-30f; /* Of rows of zeros. */
static const float ALMOST_HALF = 0.49999997f; /* The number before one half. */
static const uint8_t MIDDLE = 128; /* Stands for zero. */

static inline int32_t bits_of(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(int32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float cut(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

/* By Horner's scheme. */
static inline float polynomial(float x, const float *coefficients, int terms) {
    float sum = coefficients[0];
    for (int term = 1; term < terms; term++) sum = sum * x + coefficients[term];
    return sum;
}

/* e**x for x < 0: 2**whole * e**rest. */
static inline float exp_of_negative(float x) {
    x = cut(x, LEAST_EXPONENT, 0.0f);
    int32_t whole = (int32_t)(x * LOG2_OF_E - 0.5f); /* A cast cuts towards zero. */
    float rest = x - whole * LN2_HIGH;
    rest = rest - whole * LN2_LOW;
    float sum = polynomial(rest, EXP, TERMS(EXP)) * (rest * rest) + rest + 1.0f;
    return sum * float_of((whole + 127) << 23);
}

static inline float logistic(float value) {
    float x = cut(value, LOGISTIC_IS_EXP_BELOW, LOGISTIC_LIMIT), square = x * x;
    float above = x * polynomial(square, LOGISTIC_ABOVE, TERMS(LOGISTIC_ABOVE));
    float ratio = above / polynomial(square, LOGISTIC_BELOW, TERMS(LOGISTIC_BELOW)) + 0.5f;
    return value < LOGISTIC_IS_EXP_BELOW ? exp_of_negative(value) : ratio;
}

static inline float hyperbolic_tangent(float value) {
    float x = cut(value, -TANH_LIMIT, TANH_LIMIT), square = x * x;
    float above = x * polynomial(square, TANH_ABOVE, TERMS(TANH_ABOVE));
    float ratio = above / polynomial(square, TANH_BELOW, TERMS(TANH_BELOW));
    return fabsf(value) < TANH_IS_X_BELOW ? value : ratio;
}

/* The largest absolute value, or `least`. Numbers without a sign have the order of their bits as integers, of which the
compiler can compare several at once. */
static float largest(const float *values, size_t count, float least) {
    int32_t most = bits_of(least);
    for (size_t place = 0; place < count; place++) {
        int32_t size = bits_of(values[place]) & INT32_MAX;
        most = size > most ? size : most;
    }
    return float_of(most);
}

static uint8_t *quantise_row(const float *restrict values, float scale, uint8_t *restrict integers, size_t count) {
    for (size_t place = 0; place < count; place++) {
        float scaled = values[place] * scale;
        integers[place] = (uint8_t)((int32_t)(scaled + copysignf(ALMOST_HALF, scaled)) + MIDDLE);
    }
    return integers + count;
}

/* Quantise each row with a scale of its own, symmetric around zero: its largest absolute value becomes 127. Halves are
rounded away from zero: a half with the number's sign is added (a little less, so that numbers below a half become 0),
and a cast cuts towards zero. 128 stands for zero, because onnxruntime has no fast product of signed numbers.

values, more: of shape (rows, columns) and (rows, more_columns); one row after the other is quantised to
integers: of shape (rows, columns + more_columns).
spans: the largest absolute value of each row. */
void quantise(const float *restrict values, size_t columns, const float *restrict more, size_t more_columns,
              uint8_t *restrict integers, float *restrict spans, size_t rows) {
    for (size_t row = 0; row < rows; row++) {
        float span = largest(values + row * columns, columns, LEAST_SPAN);
        span = largest(more + row * more_columns, more_columns, span);
        spans[row] = span;
        float scale = LARGEST / span;
        integers = quantise_row(values + row * columns, scale, integers, columns);
        integers = quantise_row(more + row * more_columns, scale, integers, more_columns);
    }
}

/* What a layer makes of a row of its product of integers, whose steps are worth `step`. The results are cut to low and
high. */
static void row_of_integers(const int32_t *restrict product, float step, const float *restrict bias, float low,
                            float high, float *restrict result, size_t columns) {
    for (size_t column = 0; column < columns; column++)
        result[column] = cut(product[column] * step + bias[column], low, high);
}

/* The same of a row of a product of floats. */
static void row_of_floats(const float *restrict product, const float *restrict bias, float low, float high,
                          float *restrict result, size_t columns) {
    for (size_t column = 0; column < columns; column++)
        result[column] = cut(product[column] + bias[column], low, high);
}

/* One step of the LSTM for a row, from the sums at the gates input, candidate, forget and output: shape (4, units). */
static void lstm_row(const float *restrict sums, const float *restrict cell, float *restrict new_cell,
                     float *restrict new_output, size_t units) {
    const float *input = sums, *candidate = input + units, *forget = candidate + units, *output = forget + units;
    for (size_t unit = 0; unit < units; unit++) {
        float kept = logistic(forget[unit]) * cell[unit];
        float state = kept + logistic(input[unit]) * hyperbolic_tangent(candidate[unit]);
        new_cell[unit] = state;
        new_output[unit] = logistic(output[unit]) * hyperbolic_tangent(state);
    }
}

/* A layer's results from its product. One step of the product is worth span / LARGEST * scale in each row.

product, result: of shape (rows, columns). spans: of each row. bias: of shape (columns,). */
void layer_of_integers(const int32_t *product, const float *spans, float scale, const float *bias, float low,
                       float high, float *result, size_t rows, size_t columns) {
    for (size_t row = 0; row < rows; row++)
        row_of_integers(product + row * columns, spans[row] / LARGEST * scale, bias, low, high,
                        result + row * columns, columns);
}

void layer_of_floats(const float *product, const float *bias, float low, float high, float *result, size_t rows,
                     size_t columns) {
    for (size_t row = 0; row < rows; row++)
        row_of_floats(product + row * columns, bias, low, high, result + row * columns, columns);
}

/* One step of the LSTM, from its layer's product.

product: of shape (rows, 4, units). bias: of shape (4, units). cell, new_cell, new_output: of shape (rows, units).
sums: for a row's sums, of shape (4, units), which stay in the CPU's first cache. */
void lstm_of_integers(const int32_t *product, const float *spans, float scale, const float *bias, const float *cell,
                      float *new_cell, float *new_output, float *sums, size_t rows, size_t units) {
    for (size_t row = 0; row < rows; row++) {
        row_of_integers(product + row * 4 * units, spans[row] / LARGEST * scale, bias, -INFINITY, INFINITY, sums,
                        4 * units);
        lstm_row(sums, cell + row * units, new_cell + row * units, new_output + row * units, units);
    }
}

void lstm_of_floats(const float *product, const float *bias, const float *cell, float *new_cell, float *new_output,
                    float *sums, size_t rows, size_t units) {
    for (size_t row = 0; row < rows; row++) {
        row_of_floats(product + row * 4 * units, bias, -INFINITY, INFINITY, sums, 4 * units);
        lstm_row(sums, cell + row * units, new_cell + row * units, new_output + row * units, units);
    }
}

/* e**x / the sum of them, in each row; in place. */
void softmax(float *values, size_t rows, size_t columns) {
    for (float *row = values; row < values + rows * columns; row += columns) {
        float most = row[0], sum = 0.0f;
        for (size_t column = 1; column < columns; column++) most = row[column] > most ? row[column] : most;
        for (size_t column = 0; column < columns; column++) sum += row[column] = exp_of_negative(row[column] - most);
        for (size_t column = 0; column < columns; column++) row[column] /= sum;
    }
}

/* The two functions alone, for tests. */
void logistic_of(const float *restrict x, float *restrict y, size_t count) {
    for (size_t place = 0; place < count; place++) y[place] = logistic(x[place]);
}

void tanh_of(const float *restrict x, float *restrict y, size_t count) {
    for (size_t place = 0; place < count; place++) y[place] = hyperbolic_tangent(x[place]);
}
