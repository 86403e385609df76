// What a command ends with when it cannot do what it was asked.
#pragma once

#include <stdexcept>
#include <string>

namespace cairn::cli {

/// Exit codes of the tool. Scripts rely on them: never change one.
enum ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kDamageFound = 3,
  kNoSuchCheckpoint = 4,
  kStoreBusy = 5,
};

/// A failure that the tool itself found, with its message for stderr and its exit code.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// The command line is wrong.
class UsageError : public Failure {
 public:
  explicit UsageError(const std::string& message) : Failure(kUsage, message) {}
};

}  // namespace cairn::cli
