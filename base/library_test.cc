#include "base/library.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Library, IsTheFirstNameThatIsThere) {
  auto library = Library::open(std::initializer_list<const char*>{"libnone.so.1", "libm.so.6"}, "the library", "its package");
  ASSERT_TRUE(library.ok()) << library.status().to_string();
  double (*root)(double) = nullptr;
  EXPECT_TRUE(library->find("sqrt", root).complete("libm").ok());
  ASSERT_TRUE(root);
  EXPECT_EQ(root(9), 3);
  void (*none)() = nullptr;
  EXPECT_EQ(library->find("no_such_function", none).find("sqrt", root).complete("libm").message(),
            "libm lacks functions: it is too old");
}

TEST(Library, SaysWhatToInstallWhereThereIsNone) {
  const Status s = Library::open(std::initializer_list<const char*>{"libnone.so.1"}, "the library", "its package").status();
  EXPECT_EQ(s.code(), Code::kUnsupported);
  EXPECT_EQ(s.to_string(), "the library could not be loaded; install its package, or name its folder in LD_LIBRARY_PATH");
}

}  // namespace
}  // namespace sluice
