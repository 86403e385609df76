#include "interop/safetensors_file.h"
#include "support/scratch.h"

#include <cairn/error.h>
#include <cairn/safetensors.h>
#include <cairn/store.h>

#include <gtest/gtest.h>

#include <array>
#include <numeric>

namespace cairn {
namespace {

using testing::read_text;
using testing::safetensors_bytes;
using testing::write_text;

constexpr std::string_view kOneTensor = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";

class Safetensors : public ::testing::Test {
 protected:
  std::filesystem::path file(std::string_view bytes) { return write_text(dir_ / "in", bytes); }

  RecoverableState read(std::string_view bytes) { return read_safetensors(file(bytes), "model"); }

  void expect_read_error(ErrorCode code, std::string_view part, std::string_view bytes) {
    try {
      read(bytes);
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
    }
  }

  template <typename Call>
  void expect_error(ErrorCode code, std::string_view part, const Call& call) {
    try {
      call();
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
    }
  }

  Checkpoint save(const CheckpointState& state) {
    if (!store_) store_.emplace(dir_ / "store");
    return store_->open(store_->save(state).saved.id);
  }

  std::string exported(const Checkpoint& checkpoint, const SafetensorsExportOptions& options = {}) {
    write_safetensors(checkpoint, dir_ / "out", options);
    return read_text(dir_ / "out");
  }

  // Names in the scratch directory besides the store and the input.
  std::vector<std::string> leftovers() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      const std::string name = entry.path().filename();
      if (name != "store" && name != "in") names.push_back(name);
    }
    return names;
  }

  testing::ScratchDirectory dir_;
  std::optional<Store> store_;
};

TEST_F(Safetensors, ReadsTensorsPieceByPieceFromTheFile) {
  const RecoverableState state = read(safetensors_bytes(kOneTensor, "abcd"));
  ASSERT_EQ(state.tensors.size(), 1U);
  EXPECT_EQ(state.name, "model");
  std::array<std::byte, 2> out{};
  state.tensors[0].source->read(1, out);
  EXPECT_EQ(out[0], std::byte{'b'});
  EXPECT_EQ(out[1], std::byte{'c'});
}

TEST_F(Safetensors, KeepsMetadataAsAValue) {
  const RecoverableState state = read(safetensors_bytes(R"({"__metadata__":{"format":"pt"}})"));
  EXPECT_EQ(state.values.at("__metadata__").as_map().at("format").as_string(), "pt");
  EXPECT_TRUE(read(safetensors_bytes("{}")).values.empty());
}

TEST_F(Safetensors, SaysThatAFileIsAbsentOrIsNoFile) {
  expect_error(ErrorCode::kNotFound, "no such file",
               [&] { read_safetensors(dir_ / "absent", "model"); });
  expect_error(ErrorCode::kIo, "a directory", [&] { read_safetensors(dir_.path(), "model"); });
}

TEST_F(Safetensors, RefusesAFileOfLessThanEightBytes) {
  expect_read_error(ErrorCode::kTruncated, "the file has 0 bytes", "");
  expect_read_error(ErrorCode::kTruncated, "the file has 7 bytes", "1234567");
}

TEST_F(Safetensors, RefusesAHeaderThatGoesBeyondTheFile) {
  std::string bytes = safetensors_bytes("{}");
  bytes.pop_back();
  expect_read_error(ErrorCode::kTruncated, "ends inside its header of 2 bytes", bytes);
}

TEST_F(Safetensors, RefusesAHeaderOfOneGibibyteWithoutReadingIt) {
  std::string bytes = safetensors_bytes("{}");
  bytes[3] = 0x40;
  const auto path = file(bytes);
  std::filesystem::resize_file(path, std::uint64_t{2} << 30);  // Sparse: it would fit.
  expect_error(ErrorCode::kDamaged, "claims a header of 1073741826 bytes",
               [&] { read_safetensors(path, "model"); });
}

TEST_F(Safetensors, RefusesTheLargestHeaderLength) {
  expect_read_error(ErrorCode::kDamaged, "claims a header of 18446744073709551615 bytes",
                    "\xff\xff\xff\xff\xff\xff\xff\xff{}");
}

TEST_F(Safetensors, RefusesEveryPrefixOfAFile) {
  const std::string bytes = safetensors_bytes(kOneTensor, "abcd");
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    expect_read_error(ErrorCode::kTruncated, "", std::string_view(bytes).substr(0, length));
  }
}

TEST_F(Safetensors, NoticesThatTheFileBecameShorterBeforeTheSave) {
  const CheckpointState state = {read(safetensors_bytes(kOneTensor, "abcd"))};
  std::filesystem::resize_file(dir_ / "in", 20);
  expect_error(ErrorCode::kTruncated, "", [&] { save(state); });
  EXPECT_TRUE(store_->checkpoints().empty());
}

TEST_F(Safetensors, GivesEveryDtypeBackByteForByte) {
  std::string header = R"({"__metadata__":{"format":"pt","é":"\n"})";
  std::size_t at = 0;
  // In the order of the format's own writer, so that the whole file comes back the same.
  for (const auto& [name, bits] : std::vector<std::pair<std::string, std::size_t>>{
           {"U64", 64},    {"I64", 64},        {"F64", 64},        {"C64", 64},    {"F32", 32},
           {"U32", 32},    {"I32", 32},        {"BF16", 16},       {"F16", 16},    {"U16", 16},
           {"I16", 16},    {"F8_E5M2FNUZ", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E8M0", 8}, {"F8_E4M3", 8},
           {"F8_E5M2", 8}, {"I8", 8},          {"U8", 8},          {"F6_E3M2", 6}, {"F6_E2M3", 6},
           {"F4", 4},      {"BOOL", 8}}) {
    const std::size_t bytes = 8 * bits / 8;
    header += ",\"" + name + R"(":{"dtype":")" + name + R"(","shape":[2,4],"data_offsets":[)" +
              std::to_string(at) + "," + std::to_string(at + bytes) + "]}";
    at += bytes;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string data(at, '\0');
  std::iota(data.begin(), data.end(), '\1');
  const std::string bytes = safetensors_bytes(header, data);
  EXPECT_EQ(exported(save({read(bytes)})), bytes);
}

TEST_F(Safetensors, GivesEmptyTensorsAndScalarsBack) {
  const std::string bytes =
      safetensors_bytes(R"({"f":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                        R"("a":{"dtype":"U8","shape":[0,7],"data_offsets":[4,4]},)"
                        R"("b":{"dtype":"U8","shape":[],"data_offsets":[4,5]}}  )",
                        "wxyz!");
  const Checkpoint checkpoint = save({read(bytes)});
  EXPECT_EQ(checkpoint.tensors()[0].shape.size(), 2U);
  EXPECT_EQ(exported(checkpoint), bytes);
}

TEST_F(Safetensors, WritesLargeTensorsInPiecesAndSmallOnesTogether) {
  constexpr std::size_t kLarge = (std::size_t{19} << 20) + 7;
  std::string header = R"({"large":{"dtype":"U8","shape":[)" + std::to_string(kLarge) +
                       R"(],"data_offsets":[0,)" + std::to_string(kLarge) + "]}";
  std::size_t at = kLarge;
  for (int i = 100; i < 999; ++i) {
    header += ",\"s" + std::to_string(i) + R"(":{"dtype":"U8","shape":[9999],"data_offsets":[)" +
              std::to_string(at) + "," + std::to_string(at + 9999) + "]}";
    at += 9999;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string data(at, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * i >> 7);
  const std::string bytes = safetensors_bytes(header, data);
  EXPECT_TRUE(exported(save({read(bytes)})) == bytes);
}

RecoverableState state_of(std::string name, std::string key, DType dtype = DType::kU8) {
  static const std::array<std::byte, 64> bytes{};
  return {.name = std::move(name),
          .tensors = {{.key = std::move(key), .dtype = dtype, .shape = {2}, .data = bytes.data()}}};
}

TEST_F(Safetensors, PutsTheRecoverableBeforeTheKeyWhenThereAreSeveral) {
  const Checkpoint checkpoint = save({state_of("model", "w"), state_of("optimizer", "w")});
  const std::string bytes = exported(checkpoint);
  EXPECT_NE(bytes.find(R"("model/w":{)"), std::string::npos);
  EXPECT_NE(bytes.find(R"("optimizer/w":{)"), std::string::npos);
}

TEST_F(Safetensors, WritesOneRecoverableWithItsOwnKeys) {
  const Checkpoint checkpoint = save({state_of("model", "w"), state_of("optimizer", "m")});
  const std::string bytes = exported(checkpoint, {.recoverable = "optimizer"});
  EXPECT_NE(bytes.find(R"({"m":{)"), std::string::npos);
  EXPECT_EQ(bytes.find("w"), std::string::npos);
}

TEST_F(Safetensors, SaysWhichRecoverableIsAbsent) {
  const Checkpoint checkpoint = save({state_of("model", "w")});
  expect_error(ErrorCode::kNotFound, R"(has no recoverable "optimiser")",
               [&] { exported(checkpoint, {.recoverable = "optimiser"}); });
}

TEST_F(Safetensors, NamesTheTensorsWhoseDtypeTheFormatLacks) {
  const Checkpoint checkpoint =
      save({state_of("a", "x", DType::kC128), state_of("b", "y", DType::kC32)});
  expect_error(ErrorCode::kInvalidArgument, R"("a/x" (c128), "b/y" (c32))",
               [&] { exported(checkpoint); });
  EXPECT_TRUE(leftovers().empty());
}

TEST_F(Safetensors, RefusesToExportATensorThatIsNamedLikeTheMetadata) {
  const Checkpoint checkpoint = save({state_of("model", "__metadata__")});
  expect_error(ErrorCode::kInvalidArgument, "__metadata__", [&] { exported(checkpoint); });
}

TEST_F(Safetensors, LeavesValuesBehindThatAreNoMetadataOfTheFormat) {
  RecoverableState state = state_of("model", "w");
  state.values.emplace("__metadata__", MetaValue::Map{{"step", 3}});
  EXPECT_EQ(exported(save({state})).find("__metadata__"), std::string::npos);
}

TEST_F(Safetensors, ReplacesAFileOnlyWhereThatIsAllowed) {
  const Checkpoint checkpoint = save({state_of("model", "w")});
  write_text(dir_ / "out", "old");
  expect_error(ErrorCode::kAlreadyExists, "", [&] { exported(checkpoint, {.overwrite = false}); });
  EXPECT_EQ(read_text(dir_ / "out"), "old");
  EXPECT_NE(exported(checkpoint), "old");
}

TEST_F(Safetensors, ReplacesNothingThatIsNoRegularFile) {
  const Checkpoint checkpoint = save({state_of("model", "w")});
  std::filesystem::create_directory(dir_ / "out");
  expect_error(ErrorCode::kInvalidArgument, "a directory", [&] { exported(checkpoint); });
  std::filesystem::remove(dir_ / "out");
  std::filesystem::create_symlink("elsewhere", dir_ / "out");
  expect_error(ErrorCode::kInvalidArgument, "no links", [&] { exported(checkpoint); });
}

TEST_F(Safetensors, LeavesNoFileBehindWhenATensorIsDamaged) {
  const Checkpoint checkpoint = save({read(safetensors_bytes(kOneTensor, "abcd"))});
  const std::uint64_t offset = checkpoint.chunks(0).at(0).pack_offset;
  std::fstream pack(dir_ / "store" / "pack", std::ios::in | std::ios::out | std::ios::binary);
  pack.seekp(static_cast<std::streamoff>(offset)).put('X').flush();
  expect_error(ErrorCode::kDamaged, "model/a", [&] { exported(checkpoint); });
  EXPECT_TRUE(leftovers().empty());
}

TEST_F(Safetensors, SaysThatTheDirectoryIsAbsent) {
  const Checkpoint checkpoint = save({state_of("model", "w")});
  expect_error(ErrorCode::kNotFound, "no such directory",
               [&] { write_safetensors(checkpoint, dir_ / "absent/out"); });
}

}  // namespace
}  // namespace cairn
