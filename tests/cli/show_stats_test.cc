// show --stats.
#include "cli/tool.h"
#include "support/states.h"

#include <cairn/store.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace cairn::testing {
namespace {

template <typename T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

class ShowStats : public ToolTest {
 protected:
  void save(DType dtype, std::int64_t count, Bytes bytes) {
    Store(store_).save(model({tensor("t", dtype, {count}, std::move(bytes))}),
                       {.name = "a", .replace = true});
  }
  nlohmann::json stats() {
    const auto shown = done({"show", store_, "a", "--stats", "--json"}).json();
    return shown.at("recoverables")[0].at("tensors")[0].at("stats");
  }
  void expect(double min, double mean, double max) {
    const auto values = stats();
    EXPECT_EQ(values.at("min"), min);
    EXPECT_EQ(values.at("mean"), mean);
    EXPECT_EQ(values.at("max"), max);
  }
};

TEST_F(ShowStats, DescribesFiniteElementsAndCountsTheOthers) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  save(DType::kF32, 6, bytes_of<float>({1, -2, 4, kInfinity, -kInfinity, NAN}));
  expect(-2, 1, 4);
  EXPECT_EQ(stats().at("nan_count"), 1);
  EXPECT_EQ(stats().at("infinity_count"), 2);
}

TEST_F(ShowStats, KnowsIntegers) {
  save(DType::kI64, 3, bytes_of<std::int64_t>({-7, 0, 1}));
  expect(-7, -2, 1);
  save(DType::kBool, 4, bytes_of<std::uint8_t>({0, 1, 1, 0}));
  expect(0, 0.5, 1);
}

TEST_F(ShowStats, KnowsSmallFloats) {
  // 1, -2, the smallest subnormal.
  save(DType::kF16, 3, bytes_of<std::uint16_t>({0x3c00, 0xc000, 0x0001}));
  EXPECT_EQ(stats().at("min"), -2.0);
  EXPECT_EQ(stats().at("max"), 1.0);
  save(DType::kF16, 1, bytes_of<std::uint16_t>({0x0001}));
  EXPECT_EQ(stats().at("max"), std::ldexp(1.0, -24));
  save(DType::kBF16, 2, bytes_of<std::uint16_t>({0x3f80, 0x4000}));
  expect(1, 1.5, 2);
  save(DType::kF8E4M3FN, 3, bytes_of<std::uint8_t>({0x7e, 0x38, 0x7f}));  // 448, 1, NaN
  expect(1, 224.5, 448);
  EXPECT_EQ(stats().at("nan_count"), 1);
  save(DType::kF8E5M2, 2, bytes_of<std::uint8_t>({0x7b, 0x7c}));  // 57344, infinity
  EXPECT_EQ(stats().at("max"), 57344.0);
  EXPECT_EQ(stats().at("infinity_count"), 1);
  save(DType::kF8E4M3FNUZ, 2, bytes_of<std::uint8_t>({0x80, 0x7f}));  // NaN, 240
  EXPECT_EQ(stats().at("max"), 240.0);
  save(DType::kF8E8M0FNU, 1, bytes_of<std::uint8_t>({128}));
  expect(2, 2, 2);
}

TEST_F(ShowStats, CountsWhatIsNotFiniteOfComplexNumbers) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  save(DType::kC64, 4, bytes_of<float>({1, 2, NAN, kInfinity, 0, -kInfinity, 3, NAN}));
  EXPECT_EQ(stats().at("min"), nullptr);
  EXPECT_EQ(stats().at("nan_count"), 2);
  EXPECT_EQ(stats().at("infinity_count"), 1);
  save(DType::kC128, 1, bytes_of<double>({NAN, 0}));
  EXPECT_EQ(stats().at("nan_count"), 1);
  save(DType::kC32, 2, bytes_of<std::uint16_t>({0x7c00, 0, 0x3c00, 0x7e00}));
  EXPECT_EQ(stats().at("nan_count"), 1);
  EXPECT_EQ(stats().at("infinity_count"), 1);
}

TEST_F(ShowStats, SaysNothingOfPackedNumbers) {
  save(DType::kF4E2M1, 2, bytes_of<std::uint8_t>({0x12}));
  EXPECT_EQ(stats(), nullptr);
}

TEST_F(ShowStats, PrintsOneTableUnderTheNamesThatCatTakes) {
  save(DType::kBool, 2, bytes_of<std::uint8_t>({0, 1}));
  EXPECT_EQ(done({"show", store_, "a", "--tensors", "--stats"}).out,
            "TENSOR   DTYPE  SHAPE  SIZE  MIN  MEAN  MAX  NAN  INF\n"
            "model/t  bool   [2]     2 B    0   0.5    1    0    0\n");
}

TEST_F(ShowStats, OfTensorsWithoutFiniteElementsHasNoRange) {
  save(DType::kF32, 0, {});
  EXPECT_EQ(stats().at("min"), nullptr);
  save(DType::kF32, 1, bytes_of<float>({NAN}));
  EXPECT_EQ(stats().at("mean"), nullptr);
}

TEST_F(ShowStats, TellsWhichTensorIsDamaged) {
  save(DType::kU8, 300'000, pattern(1, 300'000));
  {
    const Store store(store_, {.read_only = true});
    flip_byte(dir_ / "store/pack", store.open(1).chunks(0).front().pack_offset);
  }
  const ToolResult result = cairn({"show", store_, "a", "--stats", "--json"});
  EXPECT_EQ(result.code, 3);
  const auto tensor = result.json().at("recoverables")[0].at("tensors")[0];
  EXPECT_NE(tensor.at("stats").at("damaged").get<std::string>().find("model/t"), std::string::npos);
  EXPECT_EQ(cairn({"show", store_, "a", "--stats"}).code, 3);
  EXPECT_EQ(cairn({"show", store_, "a"}).code, 0);
}

}  // namespace
}  // namespace cairn::testing
