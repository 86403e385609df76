#include "io/fixture.h"

#include <cerrno>
#include <sys/stat.h>

namespace cairn::io {
namespace {

using testing::error_of;
using testing::text_of;

class Directory : public testing::DirectoryTest {};

TEST_F(Directory, KnowsWhatStandsAtAPath) {
  file_with("x");
  make_directory(at("dir"));
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("file", at("link"));
  EXPECT_EQ(path_kind(at("file")), PathKind::kFile);
  EXPECT_EQ(path_kind(at("dir")), PathKind::kDirectory);
  EXPECT_EQ(path_kind(at("pipe")), PathKind::kOther);
  EXPECT_EQ(path_kind(at("link")), PathKind::kOther);
}

TEST_F(Directory, NothingStandsAtAMissingNameOrBelowAFile) {
  file_with("x");
  EXPECT_EQ(path_kind(at("none")), PathKind::kAbsent);
  EXPECT_EQ(path_kind(at("file/none")), PathKind::kAbsent);
  EXPECT_EQ(file_id(at("file/none")), std::nullopt);
}

TEST_F(Directory, ALinkHasTheIdentityOfItsTarget) {
  const File file = file_with("x");
  std::filesystem::create_symlink("file", at("link"));
  EXPECT_EQ(file_id(at("link")), file.id());
}

TEST_F(Directory, ListsItsNamesInOrder) {
  for (const char* name : {"b", "a", ".hidden", "c"}) file_with("", name);
  EXPECT_EQ(list_directory(directory_), (std::vector<std::string>{".hidden", "a", "b", "c"}));
}

TEST_F(Directory, ListingWhatIsNotThereIsNotFound) {
  EXPECT_EQ(error_of([&] { list_directory(at("none")); }).code(), ErrorCode::kNotFound);
}

TEST_F(Directory, ListingAFileIsAnIoError) {
  file_with("x");
  const Error error = error_of([&] { list_directory(at("file")); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_EQ(error.system_errno(), ENOTDIR);
}

TEST_F(Directory, IsMadeOnce) {
  EXPECT_TRUE(make_directory(at("dir")));
  EXPECT_FALSE(make_directory(at("dir")));
  EXPECT_EQ(path_kind(at("dir")), PathKind::kDirectory);
}

TEST_F(Directory, ALinkToADirectoryIsOne) {
  make_directory(at("dir"));
  std::filesystem::create_symlink("dir", at("link"));
  EXPECT_FALSE(make_directory(at("link")));
}

TEST_F(Directory, IsNotMadeWhereAFileStandsOrWithoutAParent) {
  file_with("x");
  EXPECT_EQ(error_of([&] { make_directory(at("file")); }).system_errno(), ENOTDIR);
  EXPECT_EQ(error_of([&] { make_directory(at("none/dir")); }).system_errno(), ENOENT);
}

TEST_F(Directory, CanBeFlushed) {
  EXPECT_NO_THROW(sync_directory(directory_));
  EXPECT_NO_THROW(sync_directory(""));  // The parent of a name without a slash.
  EXPECT_EQ(error_of([&] { sync_directory(at("none")); }).system_errno(), ENOENT);
}

TEST_F(Directory, FlushingAFileAsADirectoryIsAnError) {
  file_with("x");
  EXPECT_EQ(error_of([&] { sync_directory(at("file")); }).system_errno(), ENOTDIR);
}

TEST_F(Directory, ARenameReplacesItsTarget) {
  file_with("new", "a");
  file_with("old", "b");
  rename_file(at("a"), at("b"));
  EXPECT_EQ(list_directory(directory_), std::vector<std::string>{"b"});
  EXPECT_EQ(text_of(File::open(at("b"), File::Access::kRead)), "new");
}

TEST_F(Directory, AFailedRenameNamesBothFilesOnOneLine) {
  const Error error = error_of([&] { rename_file(at("none"), at("new\nline")); });
  EXPECT_EQ(error.code(), ErrorCode::kIo);
  EXPECT_EQ(error.what(), "cannot rename to \"" + directory_.string() + "/new\\nline\": " +
                              at("none").string() + " (No such file or directory)");
}

TEST_F(Directory, RemovingTellsWhetherThereWasAFile) {
  file_with("x");
  EXPECT_TRUE(remove_file(at("file")));
  EXPECT_FALSE(remove_file(at("file")));
  EXPECT_EQ(error_of([&] { remove_file(directory_); }).code(), ErrorCode::kIo);
}

}  // namespace
}  // namespace cairn::io
