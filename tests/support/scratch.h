// A directory of a test's own, removed afterwards.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <unistd.h>

namespace cairn::testing {

/// kDisk is where TMPDIR says. kMemory is for tests of many thousand small cases, which need no
/// disk: a file system in memory where the machine has one.
enum class Where { kDisk, kMemory };

class ScratchDirectory {
 public:
  explicit ScratchDirectory(Where where = Where::kDisk) {
    const bool in_memory = where == Where::kMemory && ::access("/dev/shm", W_OK | X_OK) == 0;
    const std::filesystem::path top =
        in_memory ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string pattern = (top / "cairn_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace cairn::testing
