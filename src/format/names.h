// What a name or key may be. The same rules hold for what callers give and for what files hold.
#pragma once

#include <cairn/error.h>

#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace cairn::format {

/// What is wrong with a checkpoint's name, as the end of a sentence ("is empty", "holds a '/'"), or
/// nothing. Allowed: UTF-8, 1 to kMaxNameBytes bytes, no '/', no control characters, not "latest",
/// not beginning with "best:", "id:" or "name:".
std::optional<std::string> checkpoint_name_problem(std::string_view name);

/// The same for a recoverable's name: UTF-8, 1 to kMaxNameBytes bytes, no '/', no control
/// characters.
std::optional<std::string> recoverable_name_problem(std::string_view name);

/// The same for a key of a tensor or of a value in a map: UTF-8, at most kMaxKeyBytes bytes.
std::optional<std::string> key_problem(std::string_view key);

/// `wanted`, or if that is among `taken` a name made from it that is not ("name+2", cut where it
/// would be too long), which is then among them.
std::string free_checkpoint_name(const std::string& wanted, std::set<std::string>& taken);

/// These throw when there is a problem; the message quotes the name. A decoder passes kDamaged.
void validate_checkpoint_name(std::string_view name, ErrorCode code = ErrorCode::kInvalidArgument);
void validate_recoverable_name(std::string_view name, ErrorCode code = ErrorCode::kInvalidArgument);
/// `what` is what the message calls it, e.g. "tensor key".
void validate_key(std::string_view key, std::string_view what,
                  ErrorCode code = ErrorCode::kInvalidArgument);

}  // namespace cairn::format
