// Norm, quantisation, rotation, exp: elementwise and reducing float ops over the sixteen lanes.
// Included inside a namespace, after the lanes.

// exp(x), relative error below 2e-7: x = n ln2 + r, degree-6 polynomial in r (Cephes expf), times
// 2^n. Below -87.3 the result is +0, also for -infinity and NaN; above 88 it is that of 88.
static inline V Exp(V x) {
  const V low = Set1(-87.3f);
  const V clamped = Min(Max(x, low), Set1(88.0f));
  const V n = RoundEven(Mul(clamped, Set1(1.44269504088896341f)));
  V r = Fma(n, Set1(-0.693359375f), clamped);
  r = Fma(n, Set1(2.12194440e-4f), r);
  V p = Set1(1.9875691500e-4f);
  p = Fma(p, r, Set1(1.3981999507e-3f));
  p = Fma(p, r, Set1(8.3334519073e-3f));
  p = Fma(p, r, Set1(4.1665795894e-2f));
  p = Fma(p, r, Set1(1.6666665459e-1f));
  p = Fma(p, r, Set1(5.0000001201e-1f));
  p = Add(Fma(p, Mul(r, r), r), Set1(1.0f));
  return ZeroWhereLess(x, low, Mul(p, PowerOfTwo(n)));
}

// exp(x) of x <= 0 for weights that are rounded to bfloat16 next: relative error 3e-6 down to
// 2^-60, below that 2^-60. x * log2(e) = n + f, a polynomial of degree 4 in f, times 2^n.
static inline V ExpForBf16(V x) {
  const V t = Max(Mul(x, Set1(1.44269504088896341f)), Set1(-60.0f));
  const V magic = Set1(12582912.0f);  // 1.5 * 2^23: the sum has no room for a fraction
  const V n = Sub(Add(t, magic), magic);
  const V f = Sub(t, n);
  V p = Set1(9.570102015e-03f);
  p = Fma(p, f, Set1(5.591786031e-02f));
  p = Fma(p, f, Set1(2.402474482e-01f));
  p = Fma(p, f, Set1(6.931218147e-01f));
  p = Fma(p, f, Set1(9.999992614e-01f));
  return TimesPowerOfTwo(p, n);
}

static inline float Exp1(float x) {
  float out[16];
  Store(out, Exp(Set1(x)));
  return out[0];
}

// silu(g) * u
static inline V SiluTimes(V g, V u) {
  const V sigmoid_inverse = Add(Set1(1.0f), Exp(Sub(Zero(), g)));
  return Mul(Div(g, sigmoid_inverse), u);
}

// gelu(g) * u in the tanh form: g / 2 * (1 + tanh(z)) = g * sigmoid(2 z).
static inline V GeluTimes(V g, V u) {
  const V cubed = Fma(Mul(Mul(g, g), g), Set1(0.044715f), g);
  const V twice_z = Mul(cubed, Set1(1.59576912160573071f));
  const V sigmoid_inverse = Add(Set1(1.0f), Exp(Sub(Zero(), twice_z)));
  return Mul(Div(g, sigmoid_inverse), u);
}

static inline V GateTimes(Gate gate, V g, V u) {
  return gate == Gate::kSilu ? SiluTimes(g, u) : GeluTimes(g, u);
}

// The last, incomplete vector of a row, zero beyond `count`.
static inline V LoadTail(const float* p, int64_t count) {
  float padded[16] = {};
  for (int64_t i = 0; i < count; ++i) padded[i] = p[i];
  return Load(padded);
}
static inline void StoreTail(float* p, V x, int64_t count) {
  float padded[16];
  Store(padded, x);
  for (int64_t i = 0; i < count; ++i) p[i] = padded[i];
}

static void SiluTimesMany(const float* gate, const float* up, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, SiluTimes(Load(gate + i), Load(up + i)));
  if (i < n)
    StoreTail(out + i, SiluTimes(LoadTail(gate + i, n - i), LoadTail(up + i, n - i)), n - i);
}

static void GeluTimesMany(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t count = n - i < 16 ? n - i : 16;
    StoreTail(out + i, GeluTimes(LoadTail(gate + i, count), LoadTail(up + i, count)), count);
  }
}

static void ClampedSwigluMany(const float* gate, const float* up, float limit, float alpha,
                              int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t count = n - i < 16 ? n - i : 16;
    const V g = Min(LoadTail(gate + i, count), Set1(limit));
    const V u = Max(Min(LoadTail(up + i, count), Set1(limit)), Set1(-limit));
    const V sigmoid_inverse = Add(Set1(1.0f), Exp(Sub(Zero(), Mul(Set1(alpha), g))));
    StoreTail(out + i, Mul(Div(g, sigmoid_inverse), Add(u, Set1(1.0f))), count);
  }
}

static void AddScaled(const float* in, float factor, int64_t n, float* out) {
  const V f = Set1(factor);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, Fma(f, Load(in + i), Load(out + i)));
  if (i < n) {
    StoreTail(out + i, Fma(f, LoadTail(in + i, n - i), LoadTail(out + i, n - i)), n - i);
  }
}

static void RmsNorm(const float* in, const float* gain, float epsilon, int64_t cols, float* out) {
  const int64_t whole = cols / 16 * 16;
  V squares = Zero();
  for (int64_t i = 0; i < whole; i += 16) {
    const V x = Load(in + i);
    squares = Fma(x, x, squares);
  }
  if (whole < cols) {
    const V x = LoadTail(in + whole, cols - whole);
    squares = Fma(x, x, squares);
  }
  const float mean = SumTree(squares) / static_cast<float>(cols);
  const V factor = Set1(1.0f / __builtin_sqrtf(mean + epsilon));
  for (int64_t i = 0; i < whole; i += 16) {
    Store(out + i, Mul(Mul(Load(in + i), factor), Load(gain + i)));
  }
  if (whole < cols) {
    const V x = LoadTail(in + whole, cols - whole);
    StoreTail(out + whole, Mul(Mul(x, factor), LoadTail(gain + whole, cols - whole)), cols - whole);
  }
}

// Groups whose largest magnitude is below this are zero: 127 / magnitude must stay finite.
#define BATON_QUANTIZE_FLOOR 1e-30f

// Sixteen groups at a time, so that their divisions are one vector each.
static void Quantize(const float* in, int64_t cols, int32_t row, int32_t tile_rows, uint8_t* tile) {
  const int64_t groups = cols / kGroupCols;
  for (int64_t first = 0; first < groups; first += 16) {
    const int count = groups - first < 16 ? static_cast<int>(groups - first) : 16;
    float largest[16] = {}, inverse[16], scale[16], scaled_sum[16];
    for (int i = 0; i < count; ++i) {
      const float* x = in + (first + i) * kGroupCols;
      largest[i] = MaxLane(Max(Abs(Load(x)), Abs(Load(x + 16))));
    }
    const V magnitude = Load(largest), floor = Set1(BATON_QUANTIZE_FLOOR);
    Store(inverse, ZeroWhereLess(magnitude, floor, Div(Set1(127.0f), magnitude)));
    Store(scale, ZeroWhereLess(magnitude, floor, Div(magnitude, Set1(127.0f))));
    for (int i = 0; i < count; ++i) {
      const float* x = in + (first + i) * kGroupCols;
      int8_t q[32];
      const V factor = Set1(inverse[i]);
      const int32_t sum = StoreGroup(q, Mul(Load(x), factor), Mul(Load(x + 16), factor));
      const int32_t offset = -8 * sum;
      scaled_sum[i] = scale[i] * static_cast<float>(sum);
      uint8_t* group = tile + (first + i) * tile_rows * kGroupRowBytes + row * 4;
      if (kRowMajor) {
        __builtin_memcpy(group + row * 28, q, 32);
      } else {
        for (int j = 0; j < 8; ++j) __builtin_memcpy(group + j * tile_rows * 4, q + j * 4, 4);
      }
      __builtin_memcpy(group + tile_rows * 32, &scale[i], 4);
      __builtin_memcpy(group + tile_rows * 36, &scaled_sum[i], 4);
      __builtin_memcpy(group + tile_rows * 40, &offset, 4);
    }
  }
}

static void Rope(float* head, const float* cosines, const float* sines, int32_t half,
                 bool interleaved) {
  for (int32_t i = 0; i < half; ++i) {
    float* a = head + (interleaved ? 2 * i : i);
    float* b = head + (interleaved ? 2 * i + 1 : i + half);
    const float x = *a, y = *b;
    *a = __builtin_fmaf(x, cosines[i], -(y * sines[i]));
    *b = __builtin_fmaf(x, sines[i], y * cosines[i]);
  }
}

static void ToHalf(const float* in, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) StoreHalf(out + i, Load(in + i));
  if (i < n) {
    uint16_t padded[16];
    StoreHalf(padded, LoadTail(in + i, n - i));
    for (int64_t k = 0; i + k < n; ++k) out[i + k] = padded[k];
  }
}

static void ToBfloat(const float* in, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) StoreBf16(out + i, RoundBf16(Load(in + i)));
  if (i < n) {
    uint16_t padded[16];
    StoreBf16(padded, RoundBf16(LoadTail(in + i, n - i)));
    for (int64_t k = 0; i + k < n; ++k) out[i + k] = padded[k];
  }
}

static void ExpMany(const float* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = Exp1(in[i]);
}
