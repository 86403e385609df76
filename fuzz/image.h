// A file of mostly zeros as a short input: a script, then the file's pieces.
//
//   u8 n, then n bytes           the script: what to do with the file
//   u32 offset, u16 length, length bytes, and so on to the end of the input
//
// The file ends with its last piece, at a multiple of 4096; a piece beyond kMaxImageBytes, or one
// that the input cuts short, ends the list.
#pragma once

#include "support.h"

namespace cairn::fuzz {

inline constexpr std::size_t kMaxImageBytes = std::size_t{1} << 20;

struct Image {
  Bytes script{};
  Bytes file{};
};

Image expand(View input);
Bytes compress(const Image& image);

}  // namespace cairn::fuzz
