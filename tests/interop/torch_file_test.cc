// Files of torch.save. Those in tests/interop/torch_files were written by Python; make.py beside
// them says what is in them, and state.txt is what dump.py, without torch, finds there.

#include "base/little_endian.h"
#include "interop/export_file.h"
#include "interop/safetensors_file.h"
#include "interop/zip_writer.h"
#include "support/scratch.h"
#include "support/states.h"

#include <cairn/store.h>
#include <cairn/torch_file.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <numeric>
#include <span>

namespace cairn {
namespace {

using testing::Bytes;
using testing::error_of;
using testing::ScratchDirectory;

constexpr std::string_view kHexDigits = "0123456789abcdef";

std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(CAIRN_SOURCE_DIR) / "tests/interop/torch_files" / name;
}

template <typename T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// Everything that a state's source gives, in one read.
Bytes bytes_of(const TensorInput& tensor) {
  std::uint64_t count = 1;
  for (const std::int64_t dimension : tensor.shape) count *= static_cast<std::uint64_t>(dimension);
  Bytes bytes(count * bits_per_element(tensor.dtype) / 8);
  if (!bytes.empty()) tensor.source->read(0, bytes);
  return bytes;
}

class TorchFile : public ::testing::TestWithParam<const char*> {
 protected:
  const RecoverableState state_ = read_torch_file(fixture(GetParam()), "model");

  const TensorInput& tensor(const std::string& key) const {
    const auto found = std::find_if(state_.tensors.begin(), state_.tensors.end(),
                                    [&](const TensorInput& input) { return input.key == key; });
    if (found == state_.tensors.end()) throw std::runtime_error("no tensor " + key);
    return *found;
  }
  template <typename T>
  void expect(const std::string& key, DType dtype, std::vector<std::int64_t> shape,
              const std::vector<T>& values) const {
    EXPECT_EQ(tensor(key).dtype, dtype) << key;
    EXPECT_EQ(tensor(key).shape, shape) << key;
    EXPECT_EQ(bytes_of(tensor(key)), bytes_of(values)) << key;
  }
};

TEST_P(TorchFile, BringsTensorsOfEveryType) {
  expect<float>("model.0.weight", DType::kF32, {2, 3}, {0, 1, 2, 3, 4, 5});
  expect<std::uint16_t>("tensors.bf16", DType::kBF16, {4}, {0, 0x3f80, 0x4000, 0x4040});
  expect<std::uint16_t>("tensors.f16", DType::kF16, {4}, {0, 0x3c00, 0x4000, 0x4200});
  expect<double>("tensors.f64", DType::kF64, {4}, {0, 1, 2, 3});
  expect<std::int8_t>("tensors.i8", DType::kI8, {4}, {-2, -1, 0, 1});
  expect<std::uint8_t>("tensors.u8", DType::kU8, {4}, {0, 1, 2, 3});
  expect<std::uint8_t>("tensors.bool", DType::kBool, {2}, {1, 0});
  expect<float>("tensors.complex64", DType::kC64, {1}, {1, 2});
  expect<std::int64_t>("tensors.scalar", DType::kI64, {}, {7});
  expect<float>("tensors.empty", DType::kF32, {0, 3}, {});
  expect<float>("tensors.parameter", DType::kF32, {1}, {5});
}

TEST_P(TorchFile, BringsWhatPythonsOwnPickleFindsAndNothingElse) {
  std::map<std::string, std::string> lines;
  for (const TensorInput& input : state_.tensors) {
    std::string& line = lines[input.key];
    line = input.key + " " + std::string(to_string(input.dtype)) + " [";
    for (std::size_t i = 0; i < input.shape.size(); ++i) {
      line += (i == 0 ? "" : ",") + std::to_string(input.shape[i]);
    }
    line += "]";
    const Bytes bytes = bytes_of(input);
    if (!bytes.empty()) line += " ";
    for (const std::byte byte : bytes) {
      line += kHexDigits[std::to_integer<std::size_t>(byte >> 4)];
      line += kHexDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
    }
  }
  std::string all;
  for (const auto& [key, line] : lines) all += line + "\n";
  EXPECT_EQ(all, testing::read_text(fixture("state.txt")));
}

TEST_P(TorchFile, BringsViewsOfASharedStorage) {
  expect<float>("tensors.slice", DType::kF32, {4}, {3, 4, 5, 6});
  expect<float>("tensors.strided", DType::kF32, {6}, {0, 2, 4, 6, 8, 10});
  expect<float>("tensors.transposed", DType::kF32, {4, 3}, {0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
  expect<float>("tensors.tied_a", DType::kF32, {2}, {1, 2});
  expect<float>("tensors.tied_b", DType::kF32, {2}, {1, 2});
}

TEST_P(TorchFile, KeepsTiedTensorsTied) {
  const ScratchDirectory scratch;
  Store store(scratch / "store");
  const TensorInput& one = tensor("tensors.tied_a");
  const TensorInput& other = tensor("tensors.tied_b");
  store.save({{.name = "model", .tensors = {one}}});
  // Both lie where the one lay, so there is no new chunk.
  EXPECT_EQ(store.save({{.name = "model", .tensors = {one, other}}}).new_bytes, 0U);
}

TEST_P(TorchFile, ReadsAnyPartOfAView) {
  const TensorInput& transposed = tensor("tensors.transposed");
  Bytes part(2 * sizeof(float));
  transposed.source->read(4 * sizeof(float), part);
  EXPECT_EQ(part, bytes_of<float>({5, 9}));
}

TEST_P(TorchFile, BringsNumbersTextAndListsAsValues) {
  const MetaValue::Map& values = state_.values;
  EXPECT_EQ(values.at("epoch"), MetaValue(3));
  EXPECT_EQ(values.at("lr"), MetaValue(0.5));
  EXPECT_EQ(values.at("name"), MetaValue("run"));
  EXPECT_EQ(values.at("large"), MetaValue(std::int64_t{1} << 40));
  EXPECT_EQ(values.at("negative"), MetaValue(-5));
  EXPECT_EQ(values.at("flags"), MetaValue(MetaValue::List{true, 2, "x"}));  // None is left out
  EXPECT_EQ(values.at("shape"), MetaValue(MetaValue::List{2, 3}));
  const MetaValue::Map& ordered = values.at("ordered").as_map();
  EXPECT_EQ(ordered.at("a"), MetaValue(1));
  EXPECT_EQ(ordered.at("b").as_list().at(0), MetaValue(1.5));
  EXPECT_EQ(ordered.at("b").as_list().at(1).as_bytes(), (Bytes{std::byte{0}, std::byte{0xff}}));
}

TEST_P(TorchFile, BringsAnOptimizersState) {
  EXPECT_EQ(tensor("optimizer.state.0.exp_avg").shape, (std::vector<std::int64_t>{2, 3}));
  expect<float>("optimizer.state.0.step", DType::kF32, {}, {1});
  const MetaValue::Map& group = state_.values.at("optimizer.param_groups").as_list().at(0).as_map();
  EXPECT_EQ(group.at("lr"), MetaValue(0.125));
  EXPECT_EQ(group.at("params").as_list().size(), 4U);
}

TEST_P(TorchFile, TakesNumbersAsKeys) {
  expect<std::int64_t>("tensors.7", DType::kI64, {2}, {7, 8});
}

TEST_P(TorchFile, IsKnownByItsContents) {
  EXPECT_TRUE(looks_like_torch_file(fixture(GetParam())));
}

// Bytes flipped all over, lengths cut: an error or some state, never a crash; and what the source
// reads lies in the file.
TEST_P(TorchFile, BearsDamage) {
  const ScratchDirectory scratch;
  const auto path = scratch / "damaged.pt";
  const Bytes good = testing::read_file(fixture(GetParam()));
  const auto try_to_read = [&](const Bytes& bytes) {
    testing::write_file(path, bytes);
    try {
      for (const TensorInput& input : read_torch_file(path, "model").tensors) bytes_of(input);
    } catch (const Error& error) {
      EXPECT_FALSE(error.path().empty()) << error.what();
    }
  };
  Bytes bytes = good;
  for (std::size_t at = 0; at < good.size(); at += 11) {
    bytes[at] ^= static_cast<std::byte>(1 << at / 11 % 8);
    try_to_read(bytes);
    bytes[at] = good[at];
  }
  for (std::size_t length = 0; length < good.size(); length += 127) {
    try_to_read(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)));
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TorchFile,
                         ::testing::Values("state-1.13-zip.pt", "state-1.13-legacy.pt",
                                           "state-2.13-zip.pt", "state-2.13-legacy.pt"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return c == '-' || c == '.'; }, '_');
                           return name;
                         });

TEST(TorchFiles, AllFourHaveTheSameTensors) {
  const ScratchDirectory scratch;
  Store store(scratch / "store");
  std::uint64_t new_chunks = 0;
  for (const char* name :
       {"state-1.13-zip.pt", "state-1.13-legacy.pt", "state-2.13-zip.pt", "state-2.13-legacy.pt"}) {
    new_chunks = store.save({read_torch_file(fixture(name), "model")}).new_chunks;
  }
  EXPECT_EQ(new_chunks, 0U);
  EXPECT_EQ(store.stat().chunks, 1U);
}

TEST(TorchFiles, OneThatWouldRunCodeIsRefusedByName) {
  for (const char* name : {"hostile.pt", "hostile-legacy.pt"}) {
    const Error error = error_of([&] { read_torch_file(fixture(name), "model"); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("\"posix.system\""), std::string::npos)
        << error.what();
    EXPECT_FALSE(std::filesystem::exists("hostile-was-run"));
  }
}

TEST(TorchFiles, OneThatRepeatsElementsWithoutEndIsRefused) {
  const Error error = error_of([] { read_torch_file(fixture("expanded.pt"), "model"); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(error.what()).find("256 times"), std::string::npos) << error.what();
}

/// Files around a pickle that is written here.
class MadeTorchFile : public ::testing::Test {
 protected:
  const ScratchDirectory scratch_;
  const std::filesystem::path path_ = scratch_ / "made.pt";

  static std::string number(std::uint64_t value, std::size_t bytes) {
    std::string text(sizeof(value), '\0');
    base::store_le(std::as_writable_bytes(std::span(text)), 0, value);
    return text.substr(0, bytes);
  }
  static std::string text(std::string_view text) {
    return "X" + number(text.size(), 4) + std::string(text);
  }
  static std::string tuple(const std::vector<std::int32_t>& integers) {
    std::string text = "(";
    for (const std::int32_t integer : integers) {
      text += "J" + number(static_cast<std::uint32_t>(integer), 4);
    }
    return text + "t";
  }
  /// A tensor of floats in the storage "0".
  static std::string tensor(const std::vector<std::int32_t>& shape,
                            const std::vector<std::int32_t>& strides, std::uint32_t elements) {
    return "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\nFloatStorage\n" +
           text("0") + text("cpu") + "J" + number(elements, 4) + "tQK" + number(0, 1) +
           tuple(shape) + tuple(strides) + "\x89}tR";
  }

  void write(const std::string& pickle, std::span<const std::byte> storage) const {
    interop::ExportFile file(path_);
    interop::ZipWriter zip(file);
    zip.begin_entry("a/data.pkl", pickle.size());
    zip.append(std::as_bytes(std::span(pickle)));
    zip.begin_entry("a/data/0", storage.size());
    zip.append(storage);
    zip.finish();
    file.publish();
  }
  RecoverableState read() const { return read_torch_file(path_, "model"); }
  void expect_error(ErrorCode code, const std::string& what) const {
    const Error error = error_of([&] { read(); });
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    EXPECT_EQ(error.path(), path_);
  }
};

TEST_F(MadeTorchFile, BringsALargeTransposedMatrix) {
  constexpr std::int32_t kRows = 700;
  constexpr std::int32_t kColumns = 900;
  std::vector<float> numbers(kRows * kColumns);
  std::iota(numbers.begin(), numbers.end(), 0.0F);
  write(tensor({kColumns, kRows}, {1, kColumns}, kRows * kColumns) + ".",
        std::as_bytes(std::span(numbers)));
  const RecoverableState state = read();
  const Bytes bytes = bytes_of(state.tensors.at(0));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto expected = static_cast<float>(i % kRows * kColumns + i / kRows);
    ASSERT_EQ(std::memcmp(bytes.data() + i * sizeof(float), &expected, sizeof(float)), 0) << i;
  }
}

TEST_F(MadeTorchFile, ANegativeDimensionIsRefusedBesideAZero) {
  write(tensor({0, -5}, {1, 1}, 0) + ".", {});
  expect_error(ErrorCode::kDamaged, "an impossible shape");
}

TEST_F(MadeTorchFile, APathThatNoCheckpointCanHoldIsRefused) {
  const std::string half = text(std::string(40'000, 'k'));
  write("}" + half + "}" + half + tensor({0}, {1}, 0) + "ss.", {});
  expect_error(ErrorCode::kInvalidArgument, "longer than 65535 bytes");
}

TEST_F(MadeTorchFile, OneTextThatIsReferredToAThousandTimesIsRefused) {
  std::string pickle = "}" + text("texts") + "(" + text(std::string(4 << 20, 't')) + "q\x01";
  for (int i = 0; i < 1000; ++i) pickle += "h\x01";
  write(pickle + "ls.", {});
  expect_error(ErrorCode::kInvalidArgument, "536870912 bytes together");
}

TEST_F(MadeTorchFile, AZipDirectoryOfAnyLengthIsNotTaken) {
  constexpr std::uint64_t kDirectoryBytes = std::uint64_t{300} << 20;
  testing::write_text(path_, "PK\x03\x04");
  std::filesystem::resize_file(path_, kDirectoryBytes);  // a hole
  const std::string end64 = "PK\x06\x06" + number(44, 8) + number(45, 2) + number(45, 2) +
                            number(0, 8) + number(1, 8) + number(1, 8) +
                            number(kDirectoryBytes, 8) + number(0, 8);
  const std::string locator =
      "PK\x06\x07" + number(0, 4) + number(kDirectoryBytes, 8) + number(1, 4);
  std::ofstream(path_, std::ios::app) << end64 << locator << "PK\x05\x06" << std::string(18, '\0');
  expect_error(ErrorCode::kDamaged, "its directory has more than");
}

// Another file may begin like a pickle that goes on to its end.
TEST_F(MadeTorchFile, TheLegacyFormatIsKnownByItsFirstBytes) {
  const std::string magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
  EXPECT_TRUE(looks_like_torch_file(testing::write_text(path_, magic)));
  EXPECT_FALSE(
      looks_like_torch_file(testing::write_text(path_, text(std::string(100, 'x')) + "0" + magic)));
}

TEST(TorchFiles, OtherFilesAreToldApart) {
  const ScratchDirectory scratch;
  const auto safetensors =
      testing::write_text(scratch / "a.safetensors", testing::safetensors_bytes("{}"));
  EXPECT_FALSE(looks_like_torch_file(safetensors));
  EXPECT_FALSE(looks_like_torch_file(testing::write_text(scratch / "empty", "")));
  EXPECT_EQ(error_of([&] { read_torch_file(safetensors, "m"); }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { looks_like_torch_file(scratch / "absent"); }).code(),
            ErrorCode::kNotFound);
}

}  // namespace
}  // namespace cairn
