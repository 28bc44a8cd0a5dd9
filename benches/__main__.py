from benches.all import main

main()
