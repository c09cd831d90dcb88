/// The theme files of this folder, compiled into the program so that it runs from anywhere.
public enum ThemeFiles {
  /// In the order in which the theme key walks through them.
  public static let all: [(name: String, bytes: [UInt8])] = [
    ("fullmind", PackageResources.fullmind_toml), ("daylight", PackageResources.daylight_toml),
    ("high-contrast", PackageResources.high_contrast_toml), ("deuteranopia", PackageResources.deuteranopia_toml),
    ("tritanopia", PackageResources.tritanopia_toml), ("gruvbox", PackageResources.gruvbox_toml),
    ("nord", PackageResources.nord_toml), ("solarized", PackageResources.solarized_toml),
    ("monochrome", PackageResources.monochrome_toml),
  ]
}
