// What the fuzz targets share. Each target is one file, NAME.cc, that defines
// LLVMFuzzerTestOneInput and CAIRN_FUZZ_MEND; libFuzzer drives it, or replay_main.cc does.
#pragma once

#include <cairn/error.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace cairn::fuzz {

using Bytes = std::vector<std::byte>;
using View = std::span<const std::byte>;

inline View as_view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

/// As `==`, but at once: with std::byte that goes byte by byte, each step of it instrumented.
inline bool same_bytes(View a, View b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// Ends the process when a promise is broken; a fuzzer takes that for a crash.
#define CAIRN_FUZZ_REQUIRE(condition)                                                      \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)

/// Calls what may refuse its input; true when it did not. Anything but cairn::Error gets out, and
/// is a finding.
template <typename Call>
bool accepts(const Call& call) {
  try {
    call();
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Takes an input apart, a number at a time; zeros when it has come to its end.
class Script {
 public:
  explicit Script(View bytes) : rest_(bytes) {}

  bool empty() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(rest_.front());
    rest_ = rest_.subspan(1);
    return value;
  }
  /// Below `end`, which is at least 1.
  std::size_t below(std::size_t end) { return byte() % end; }

 private:
  View rest_;
};

/// A directory in memory, where there is one, for the files that a target opens. Removed at exit.
class Scratch {
 public:
  Scratch() {
    const char* chosen = std::getenv("TMPDIR");
    const bool has_shm = std::filesystem::is_directory("/dev/shm");
    std::string pattern = chosen != nullptr ? chosen : has_shm ? "/dev/shm" : "/tmp";
    pattern += "/cairn_fuzz_XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// An empty directory in it.
  std::filesystem::path fresh(const char* name) const {
    std::filesystem::remove_all(path_ / name);
    std::filesystem::create_directory(path_ / name);
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// Replaces a file's contents.
void write_file(const std::filesystem::path& path, View bytes);
Bytes read_file(const std::filesystem::path& path);

}  // namespace cairn::fuzz
