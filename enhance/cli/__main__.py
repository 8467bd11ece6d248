from enhance.cli import main

main()
