// Sixteen float lanes and sixteen integer lanes in plain C++: the definition that the vector levels
// reproduce bit for bit. Included inside a namespace.

struct V {
  float lane[16];
};
struct I {
  int32_t lane[16];
};

static inline V Zero() { return {}; }
static inline V Set1(float x) {
  V r;
  for (int i = 0; i < 16; ++i) r.lane[i] = x;
  return r;
}
static inline V Load(const float* p) {
  V r;
  for (int i = 0; i < 16; ++i) r.lane[i] = p[i];
  return r;
}
static inline void Store(float* p, V a) {
  for (int i = 0; i < 16; ++i) p[i] = a.lane[i];
}

static inline float FloatOfBits(uint32_t bits) {
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}
static inline uint32_t BitsOfFloat(float f) {
  uint32_t bits;
  __builtin_memcpy(&bits, &f, 4);
  return bits;
}
// IEEE half to float, exact.
static inline float HalfBits(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t exponent = (h >> 10) & 0x1f;
  const uint32_t mantissa = h & 0x3ff;
  if (exponent == 0x1f) return FloatOfBits(sign | 0x7f800000 | (mantissa << 13));
  if (exponent != 0) return FloatOfBits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}
// Float to IEEE half, round to nearest even.
static inline uint16_t BitsHalf(float f) {
  const uint32_t bits = BitsOfFloat(f);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    return static_cast<uint16_t>(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
  }
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x38800000) {
    const uint32_t rounded = BitsOfFloat(FloatOfBits(magnitude) + 0.5f);
    return static_cast<uint16_t>(sign | (rounded - 0x3f000000));
  }
  const uint32_t rounded = magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | (rounded >> 13));
}
static inline V LoadHalf(const uint16_t* p) {
  V r;
  for (int i = 0; i < 16; ++i) r.lane[i] = HalfBits(p[i]);
  return r;
}
static inline V LoadBf16(const uint16_t* p) {
  V r;
  for (int i = 0; i < 16; ++i) r.lane[i] = FloatOfBits(static_cast<uint32_t>(p[i]) << 16);
  return r;
}
static inline void StoreHalf(uint16_t* p, V a) {
  for (int i = 0; i < 16; ++i) p[i] = BitsHalf(a.lane[i]);
}

#define BATON_LANEWISE(name, expression)        \
  static inline V name(V a, V b) {              \
    V r;                                        \
    for (int i = 0; i < 16; ++i) {              \
      const float x = a.lane[i], y = b.lane[i]; \
      r.lane[i] = (expression);                 \
    }                                           \
    return r;                                   \
  }
BATON_LANEWISE(Add, x + y)
BATON_LANEWISE(Sub, x - y)
BATON_LANEWISE(Mul, x* y)
BATON_LANEWISE(Div, x / y)
BATON_LANEWISE(Max, x > y ? x : y)  // the second operand where one is NaN, as maxps
BATON_LANEWISE(Min, x < y ? x : y)
#undef BATON_LANEWISE

// a * b + c, rounded once.
static inline V Fma(V a, V b, V c) {
  V r;
  for (int i = 0; i < 16; ++i) r.lane[i] = __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]);
  return r;
}
static inline V Abs(V a) {
  for (float& x : a.lane) x = FloatOfBits(BitsOfFloat(x) & 0x7fffffff);
  return a;
}
// To the nearest integer, ties to even.
static inline V RoundEven(V a) {
  for (float& x : a.lane) x = __builtin_nearbyintf(x);
  return a;
}
// 2^n for integral n in [-127, 127]; -127 gives 0.
static inline V PowerOfTwo(V n) {
  V r;
  for (int i = 0; i < 16; ++i) {
    r.lane[i] = FloatOfBits(static_cast<uint32_t>(static_cast<int32_t>(n.lane[i]) + 127) << 23);
  }
  return r;
}
// x * 2^n for integral n, where neither n nor the result leaves the normal range.
static inline V TimesPowerOfTwo(V x, V n) { return Mul(x, PowerOfTwo(n)); }
// To bfloat16's eight significant bits, ties to even; magnitudes below 2^-50 become +0.
static inline V RoundBf16(V a) {
  for (float& x : a.lane) {
    const uint32_t bits = BitsOfFloat(x);
    const float magnitude = FloatOfBits(bits & 0x7fffffff);
    x = magnitude >= 0x1p-50f ? FloatOfBits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000)
                              : 0.0f;
  }
  return a;
}
// Drops the lower sixteen bits.
static inline void StoreBf16(uint16_t* p, V a) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<uint16_t>(BitsOfFloat(a.lane[i]) >> 16);
}
// result where a >= limit, +0 elsewhere (NaN included).
static inline V ZeroWhereLess(V a, V limit, V result) {
  V r;
  for (int i = 0; i < 16; ++i) r.lane[i] = a.lane[i] >= limit.lane[i] ? result.lane[i] : 0.0f;
  return r;
}
// The first `count` lanes of a, the rest of `other`.
static inline V KeepFirst(V a, int count, V other) {
  for (int i = count < 0 ? 0 : count; i < 16; ++i) a.lane[i] = other.lane[i];
  return a;
}
// To the nearest integer (ties to even), saturated to int8.
static inline void StoreInt8(int8_t* p, V a) {
  for (int i = 0; i < 16; ++i) {
    const float x = __builtin_nearbyintf(a.lane[i]);
    // Out of range for int32 converts to INT_MIN on x86, which saturates to -128.
    p[i] = x >= -128.0f && x < 2147483648.0f ? static_cast<int8_t>(x > 127.0f ? 127.0f : x)
                                             : static_cast<int8_t>(-128);
  }
}
// Stores 32 numbers so and returns their sum.
static inline int32_t StoreGroup(int8_t* p, V low, V high) {
  StoreInt8(p, low);
  StoreInt8(p + 16, high);
  int32_t sum = 0;
  for (int i = 0; i < 32; ++i) sum += p[i];
  return sum;
}
// The one order of every horizontal sum: halves are added, 16 to 8 to 4 to 2 to 1.
static inline float SumTree(V a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.lane[i] = a.lane[i] + a.lane[i + width];
  }
  return a.lane[0];
}
static inline float MaxLane(V a) {
  float m = a.lane[0];
  for (int i = 1; i < 16; ++i) m = a.lane[i] > m ? a.lane[i] : m;
  return m;
}

static inline V ToFloat(I a) {
  V r;
  for (int i = 0; i < 16; ++i) r.lane[i] = static_cast<float>(a.lane[i]);
  return r;
}
static inline I SetInt(int32_t x) {
  I r;
  for (int i = 0; i < 16; ++i) r.lane[i] = x;
  return r;
}
