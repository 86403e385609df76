// What the tests of src/io share: a directory of their own, and words for what they check.
#pragma once

#include "io/file.h"
#include "io/hooks.h"

#include <cairn/error.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::io::testing {

/// Each test gets an empty directory, removed afterwards, and ends with no hook in force.
class DirectoryTest : public ::testing::Test {
 protected:
  DirectoryTest() {
    std::string pattern = ::testing::TempDir() + "cairn_io_XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  ~DirectoryTest() override {
    hooks() = Hooks();
    std::filesystem::remove_all(directory_);
  }

  std::filesystem::path at(std::string_view name) const { return directory_ / name; }

  /// A file with that text, open for writing.
  File file_with(std::string_view text, std::string_view name = "file") const {
    File file = File::create(at(name));
    file.write(0, std::as_bytes(std::span(text)));
    return file;
  }

  std::filesystem::path directory_;
};

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// Up to `bytes` of the file as text.
inline std::string text_of(const File& file, std::uint64_t offset = 0, std::size_t bytes = 1000) {
  std::string text(bytes, '\0');
  text.resize(file.read_some(offset, std::as_writable_bytes(std::span(text))));
  return text;
}

/// The `Error` that `call` throws.
template <typename Call>
Error error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorCode::kInvalidArgument, "no error");
}

}  // namespace cairn::io::testing
