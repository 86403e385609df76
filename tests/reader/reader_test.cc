// format/reader/cairn_reader.py, written from format/SPEC.md alone, against this library: what it
// says of a pack, without the catalog, is what was saved.
#include "support/scratch.h"
#include "support/states.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sys/wait.h>

namespace cairn {
namespace {

using namespace cairn::testing;
using nlohmann::json;

/// A Python that has xxhash, or "".
std::string python() {
  for (const char* program : {"python3", "/usr/bin/python3"}) {
    const std::string check = std::string(program) + " -c 'import xxhash' 2>/dev/null";
    if (std::system(check.c_str()) == 0) return program;
  }
  return "";
}

std::string shell_word(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string base64(const MetaValue::Bytes& bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<unsigned>(bytes[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text += j <= count ? kDigits[group >> (18 - 6 * j) & 63] : '=';
    }
  }
  return text;
}

json json_of(const MetaValue::Map& map);

/// As the reader prints it: with its kind, doubles by their bits.
json json_of(const MetaValue& value) {
  if (value.is_bool()) return {{"bool", value.as_bool()}};
  if (value.is_int()) return {{"int", value.as_int()}};
  if (value.is_double()) {
    char hex[17];
    std::snprintf(hex, sizeof(hex), "%016llx",
                  static_cast<unsigned long long>(std::bit_cast<std::uint64_t>(value.as_double())));
    return {{"double", hex}};
  }
  if (value.is_string()) return {{"string", value.as_string()}};
  if (value.is_bytes()) return {{"bytes", base64(value.as_bytes())}};
  if (value.is_map()) return {{"map", json_of(value.as_map())}};
  json items = json::array();
  for (const MetaValue& item : value.as_list()) items.push_back(json_of(item));
  return {{"list", items}};
}

json json_of(const MetaValue::Map& map) {
  json object = json::object();
  for (const auto& [key, value] : map) object[key] = json_of(value);
  return object;
}

json json_of(const Checkpoint& checkpoint) {
  const CheckpointInfo& info = checkpoint.info();
  json recoverables = json::array();
  for (const std::string& name : info.recoverables) {
    json tensors = json::array();
    for (const TensorInfo& tensor : checkpoint.tensors(name)) {
      tensors.push_back({{"key", tensor.key},
                         {"dtype", to_string(tensor.dtype)},
                         {"shape", std::vector(tensor.shape.begin(), tensor.shape.end())},
                         {"bytes", tensor.bytes}});
    }
    recoverables.push_back(
        {{"name", name}, {"values", json_of(checkpoint.values(name))}, {"tensors", tensors}});
  }
  return {{"id", info.id},
          {"name", info.name},
          {"sequence", info.sequence},
          {"created_unix_ns", info.created_unix_ns},
          {"pinned", info.pinned},
          {"meta", json_of(info.meta.map())},
          {"recoverables", recoverables}};
}

class Reader : public ::testing::Test {
 protected:
  void SetUp() override {
    python_ = python();
    if (python_.empty()) GTEST_SKIP() << "there is no Python with xxhash (Debian: python3-xxhash)";
  }

  /// What the reader prints; it must end with `code`.
  std::string read(const std::vector<std::string>& words, int code = 0) {
    std::string command = python_ + " " + CAIRN_SOURCE_DIR "/format/reader/cairn_reader.py";
    for (const std::string& word : words) command += " " + shell_word(word);
    command += " 2>" + shell_word(notes_);
    std::FILE* pipe = ::popen(command.c_str(), "r");
    std::string out;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) out += static_cast<char>(c);
    const int status = ::pclose(pipe);
    EXPECT_EQ(WEXITSTATUS(status), code) << command << "\n" << notes();
    return out;
  }

  std::string notes() const {
    std::ifstream stream(notes_);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  /// Every checkpoint of the store, byte for byte.
  void expect_agreement() {
    std::vector<std::string> names;
    {
      const Store store(directory_, {.read_only = true});
      for (const CheckpointInfo& info : store.checkpoints()) {
        names.push_back(info.name);
        const Checkpoint checkpoint = store.open(info.id);
        EXPECT_EQ(json::parse(read({"show", pack_, info.name})), json_of(checkpoint));
        for (const auto& [name, bytes] : contents(checkpoint)) {
          const std::string got = read({"extract", pack_, info.name, name});
          const auto got_bytes = std::as_bytes(std::span(got));
          EXPECT_TRUE(std::equal(got_bytes.begin(), got_bytes.end(), bytes.begin(), bytes.end()))
              << name;
        }
      }
    }
    std::string listed = read({"ls", pack_});
    for (const std::string& name : names) {
      const std::size_t at = listed.find("\t" + name + "\t");
      ASSERT_NE(at, std::string::npos) << name << " in order in\n" << listed;
      listed.erase(0, at);
    }
    EXPECT_EQ(listed.find('\n'), names.empty() ? std::string::npos : listed.size() - 1);
  }

  std::string python_;
  ScratchDirectory scratch_;
  std::filesystem::path directory_ = scratch_ / "store";
  std::string pack_ = directory_ / "pack";
  std::string notes_ = scratch_ / "notes";
};

CheckpointState every_dtype() {
  std::vector<TensorInput> tensors;
  for (std::uint8_t number = 1; const auto dtype = dtype_from_number(number); ++number) {
    // 8 x 3 elements fill whole bytes whatever the dtype.
    tensors.push_back(tensor("dtype-" + std::string(to_string(*dtype)), *dtype, {8, 3},
                             pattern(number, 3 * bits_per_element(*dtype))));
  }
  tensors.push_back(tensor("scalar", DType::kF64, {}, pattern(50, 8)));
  tensors.push_back(tensor("empty", DType::kI16, {4, 0, 7}, {}));
  tensors.push_back(tensor("", pattern(51, 5)));
  tensors.push_back(tensor("k\xC3\xA4se/'quoted'", pattern(52, 100)));
  return model(std::move(tensors));
}

TEST_F(Reader, AgreesOnEveryDTypeAndShape) {
  Store(directory_).save(every_dtype());
  expect_agreement();
}

TEST_F(Reader, AgreesOnSmallTensorsLaidTogetherAndLargeOnesThatAreCut) {
  std::vector<TensorInput> tensors;
  for (std::size_t i = 0; i < 12; ++i) {
    tensors.push_back(tensor("small-" + std::to_string(i), pattern(i, 1 + 2500 * i)));
  }
  tensors.push_back(tensor("large", pattern(30, 400'001)));
  tensors.push_back(tensor("limit", pattern(31, 65'536)));
  tensors.push_back(tensor("zeros", Bytes(300'000)));  // one chunk, listed several times
  Store(directory_, {.chunk_bytes = 65'536}).save(model(std::move(tensors)));
  expect_agreement();
}

TEST_F(Reader, AgreesOnValuesAndMetadata) {
  CheckpointState state = model_of(1, 1, 10);
  state[0].values = {{"bool", false},
                     {"least", std::numeric_limits<std::int64_t>::min()},
                     {"nan", std::numeric_limits<double>::quiet_NaN()},
                     {"minus zero", -0.0},
                     {"bytes", MetaValue::Bytes(pattern(4, 7))},
                     {"", MetaValue::List{1, 2.5, "three", MetaValue::Map{{"k", true}}}},
                     {"none", MetaValue::Map{}}};
  state.push_back({.name = "no tensors", .values = {{"epoch", 3}}});
  state.push_back({.name = "nothing at all"});
  MetaValue deep = 1;
  for (int i = 0; i < MetaValue::kMaxDepth; ++i) deep = MetaValue::List{deep};
  Store(directory_).save(state, {.meta = {{"deep", deep}, {"h\xC3\xA4", "\xF0\x9F\x97\xBB"}}});
  expect_agreement();
}

TEST_F(Reader, AgreesOnAStoreThatHasBeenWorkedOn) {
  {
    Store store(directory_);
    for (std::uint64_t i = 1; i <= 7; ++i) {
      store.save(model_of(i, 3, 70'000), {.name = i % 3 == 0 ? "again" : "", .replace = true});
    }
    const std::uint64_t gone = 2;
    const std::uint64_t pinned = 4;
    store.remove({&gone, 1});
    store.set_pinned({&pinned, 1}, true);
  }
  expect_agreement();
}

TEST_F(Reader, AgreesOnAnEmptyStore) {
  { const Store store(directory_); }
  expect_agreement();
}

TEST_F(Reader, ScansWhenNoSlotIsLeft) {
  Store(directory_).save(model_of(1, 2, 1000), {.name = "one"});
  for (const std::uint64_t at : {8192, 16384, 24576, 32768}) flip_byte(pack_, at);
  EXPECT_NE(read({"ls", pack_}).find("\tone\t"), std::string::npos);
  // Nor any root: what is left is an index.
  Bytes bytes = read_file(pack_);
  for (std::size_t at = 131072; at < bytes.size(); at += 4096) {
    if (bytes[at] == std::byte{0x89} && bytes[at + 12] == std::byte{2}) bytes[at] = std::byte{0};
  }
  write_file(pack_, bytes);
  EXPECT_NE(read({"ls", pack_}).find("\tone\t"), std::string::npos);
  EXPECT_NE(notes().find("may have been deleted"), std::string::npos);
}

TEST_F(Reader, GivesNoDamagedBytes) {
  {
    Store store(directory_);
    store.save(model({tensor("good", pattern(1, 70'000)), tensor("rotten", pattern(2, 70'000))}),
               {.name = "one"});
    // The parent's root is not verified again: the damage costs one tensor, not the commit.
    store.save(model_of(3, 1, 10), {.name = "two"});
  }
  const Store store(directory_, {.read_only = true});
  const Checkpoint checkpoint = store.open(1);
  flip_byte(pack_, checkpoint.chunks(*checkpoint.find_tensor("model", "rotten"))[0].pack_offset);
  EXPECT_EQ(read({"extract", pack_, "one", "model/rotten"}, 3), "");
  EXPECT_EQ(read({"extract", pack_, "one", "model/good"}).size(), 70'000U);
  read({"extract", pack_, "one", "model/none"}, 4);
  read({"show", pack_, "three"}, 4);
}

}  // namespace
}  // namespace cairn
