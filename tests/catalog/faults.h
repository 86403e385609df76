// Lets chosen system calls fail. LMDB writes pages by pwrite and writev, flushes by fdatasync, and
// writes a meta page by a pwrite that is shorter than a page.
#pragma once

namespace cairn::catalog::faults {

enum class Call { kNone, kPageWrite, kMetaWrite, kFlush };

/// While it lives, every such call of this process fails: with `system_errno`, or, when that is 0,
/// by writing one byte less than it was given.
class Fault {
 public:
  Fault(Call call, int system_errno);
  ~Fault();
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
};

}  // namespace cairn::catalog::faults
