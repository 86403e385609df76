#include "base/text.h"

#include <cairn/error.h>

#include <system_error>
#include <utility>

namespace cairn {
namespace {

constexpr std::size_t kMaxPathBytes = 4096;

// "<message>: <path> at byte N (errno text)", on one line whatever the path holds.
std::string compose(std::string_view message, const ErrorContext& context) {
  std::string text(message);
  if (!context.path.empty()) {
    const std::string& path = context.path.native();
    const bool plain = base::is_utf8(path) && !base::has_control_characters(path);
    text += ": ";
    text += plain ? path : base::quoted(path, kMaxPathBytes);
    if (context.offset) text += " at byte " + std::to_string(*context.offset);
  }
  if (context.system_errno) {
    text += " (" + std::generic_category().message(*context.system_errno) + ")";
  }
  return text;
}

}  // namespace

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kAlreadyExists:
      return "already_exists";
    case ErrorCode::kDamaged:
      return "damaged";
    case ErrorCode::kTruncated:
      return "truncated";
    case ErrorCode::kUnsupportedVersion:
      return "unsupported_version";
    case ErrorCode::kNoSpace:
      return "no_space";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kMismatch:
      return "mismatch";
    case ErrorCode::kCommitUnknown:
      return "commit_unknown";
    case ErrorCode::kPoisoned:
      return "poisoned";
    case ErrorCode::kForked:
      return "forked";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string_view message, ErrorContext context)
    : std::runtime_error(compose(message, context)), code_(code), context_(std::move(context)) {}

}  // namespace cairn
