// Matching of errors by code and message.
#pragma once

#include <cairn/error.h>

#include <gtest/gtest.h>

#include <source_location>
#include <string>
#include <string_view>

namespace cairn::format {

/// Expects that `action` throws an Error with this code whose message holds `text`.
template <typename Action>
void expect_error(ErrorCode code, std::string_view text, Action&& action,
                  std::source_location at = std::source_location::current()) {
  const testing::ScopedTrace trace(at.file_name(), static_cast<int>(at.line()), "expected here");
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), to_string(code)) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(text), std::string_view::npos)
        << "wanted: " << text << "\n   got: " << error.what();
    return;
  }
  ADD_FAILURE() << "no error; wanted: " << text;
}

}  // namespace cairn::format
